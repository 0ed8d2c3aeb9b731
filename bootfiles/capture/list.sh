#!/bin/sh
# list.sh   Lists the files of this machine, one line a path, in the form that layers, clones and updates share:
#   ctime TAB inode TAB links TAB | type TAB mode TAB uid TAB gid TAB size TAB mtime TAB rdev TAB path TAB target
# stdin: the root directory, then the mount points of the file systems to list, one a line, as /, /boot, /boot/efi.
# Changes nothing. Ends with the line `end`; what goes wrong is said on stderr.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
IFS= read -r root

common='%C@ %i %n %y %m %U %G'
# files PREFIX FIND-ARGUMENT...   Fields are separated by blanks and path and target by //, which no path holds: tabs and
# newlines in names can then be told from separators. Directories carry no size and no time.
files() {
    prefix=$1
    shift
    find . -xdev "$@" -type d -printf "$common - - - $prefix%P//\0" \
        -o "$@" \( -type f -o -type l -o -type p \) -printf "$common %s %T@ - $prefix%P//%l\0" \
        || echo "sysclone: find exit $?" >&2
}
# devices PREFIX   find cannot say device numbers, stat can.
devices() {
    find . -xdev -mindepth 1 \( -type b -o -type c \) -printf '%P\0' \
        | xargs -0 -r stat --printf="%.9Z %i %h %F %a %u %g 0 %.9Y %t:%T $1%n//\0" -- \
        || echo "sysclone: find exit $?" >&2
}
while IFS= read -r mount; do
    cd "$root$mount"
    prefix=${mount#/}
    prefix=${prefix:+$prefix/}
    if [ "$mount" = / ]; then
        find . -maxdepth 0 -printf "$common - - - .//\0"
    fi
    files "$prefix" -mindepth 1
    devices "$prefix"
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
