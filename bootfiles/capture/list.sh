#!/bin/sh
# list.sh   Lists the files of this machine, one line a path, in the form that layers, clones and updates share:
#   ctime TAB inode TAB links TAB | type TAB mode TAB uid TAB gid TAB size TAB mtime TAB rdev TAB path TAB target
# stdin: the root directory, then the mount points of the file systems to list, one a line, as /, /boot, /boot/efi.
# Changes nothing. Begins with `begin TIME` by this machine's clock and ends with `end`; what goes wrong is said on stderr.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
IFS= read -r root

common='%C@ %i %n %y %m %U %G'
# find cannot say device numbers, stat can. What find has to say is written out before it runs a command: lines stay whole.
# shellcheck disable=SC2016 # for the inner shell
devices='prefix=$1; shift
for path; do
    stat --printf="%.9Z %i %h %F %a %u %g 0 %.9Y %t:%T " -- "$path" && printf "%s%s//\0" "$prefix" "${path#./}"
done; exit 0'
# files PREFIX   Fields are separated by blanks and path and target by //, which no path holds: tabs and newlines in names
# can then be told from separators. Directories carry no size and no time.
files() {
    format=$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/%/%%/g')
    find . -xdev -mindepth 1 \( -type d -printf "$common - - - $format%P//\0" \
        -o \( -type b -o -type c \) -exec sh -c "$devices" sh "$1" {} + \
        -o -printf "$common %s %T@ - $format%P//%l\0" \) \
        || echo "sysclone: find exit $?" >&2
}
echo "begin $(date +%s.%N)"
while IFS= read -r mount; do
    cd "$root$mount"
    prefix=${mount#/}
    if [ "$mount" = / ]; then
        find . -maxdepth 0 -printf "$common - - - .//\0"
    fi
    files "${prefix:+$prefix/}"
done | sed -z '
    s/\\/\\134/g
    s/\t/\\011/g
    s/\n/\\012/g
    s/^\([^ ]* [^ ]* [^ ]* [bc]\)[a-z]* special file /\1 /
    s/ /\t/; s/ /\t/; s/ /\t/; s/ /\t/; s/ /\t/; s/ /\t/; s/ /\t/; s/ /\t/; s/ /\t/; s/ /\t/
    s/\.\([0-9]\{9\}\)[0-9]*\t/\1\t/g
    s,//,\t,
' | tr '\0' '\n'
echo end
