#!/bin/sh
# list.sh   Lists the files of this machine, one line a path, in the form that layers, clones and updates share:
#   ctime TAB inode TAB links TAB | type TAB mode TAB uid TAB gid TAB size TAB mtime TAB rdev TAB path TAB target
# stdin: the root directory, `zstd` or `plain`, then the mount points of the file systems to list, one a line, as /, /boot,
# /boot/efi. With zstd what is printed is packed. Both times are `SECONDS.DECIMALS`. Changes nothing. Begins with `begin TIME`
# by this machine's clock and ends with `end`; what goes wrong is said on stderr.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
IFS= read -r root
IFS= read -r form

common='%C@\t%i\t%n\t%y\t%m\t%U\t%G'
tab=$(printf '\t')
newline='
'
# Names with a backslash, a tab or a newline, and device nodes, whose numbers stat must say, are few: find says them on
# descriptor 3, ended by NUL, with path and target ended by //, which no path holds. They are written anew by sed, and come last.
odd="*[\\\\$tab$newline]*"
# shellcheck disable=SC2016 # for the inner shell
devices='prefix=$1; shift
for path; do
    stat --printf="%.9Z\t%i\t%h\t%F\t%a\t%u\t%g\t0\t%.9Y\t%t:%T\t" -- "$path" && printf "%s%s//\0" "$prefix" "${path#./}"
done >&3; exit 0'
rewrite() {
    sed -z '
        s/^\([^\t]*\t[^\t]*\t[^\t]*\t[bc]\)[a-z]* special file\t/\1\t/
        s/\t/\n/; s/\t/\n/; s/\t/\n/; s/\t/\n/; s/\t/\n/; s/\t/\n/; s/\t/\n/; s/\t/\n/; s/\t/\n/; s/\t/\n/
        h
        s/^\([^\n]*\n\)\{10\}//
        s/\\/\\134/g
        s/\t/\\011/g
        s/\n/\\012/g
        s,//,\t,
        x
        s/^\(\([^\n]*\n\)\{10\}\).*/\1/
        s/\n/\t/g
        G
        s/\t\x00/\t/
    ' | tr '\0' '\n'
}
# files PREFIX   Directories carry no size and no time. Times keep all their decimals here.
files() {
    format=$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/%/%%/g')
    # In a mount point with such a name everything is odd.
    # shellcheck disable=SC2254 # a pattern it is
    case $1 in
    $odd) every=-true ;;
    *) every=-false ;;
    esac
    {
        found=$({
            find . -xdev -mindepth 1 \
                \( \( -type b -o -type c \) -exec sh -c "$devices" sh "$1" {} + \) -o \
                \( \( $every -o -path "$odd" -o -lname "$odd" \) \
                    \( -type d -fprintf /proc/self/fd/3 "$common\t-\t-\t-\t$format%P//\0" \
                    -o -fprintf /proc/self/fd/3 "$common\t%s\t%T@\t-\t$format%P//%l\0" \) \) -o \
                -type d -printf "$common\t-\t-\t-\t$format%P\t\n" -o \
                -printf "$common\t%s\t%T@\t-\t$format%P\t%l\n" >&4 ||
                echo "sysclone: find exit $?" >&2
        } 3>&1 | rewrite)
    } 4>&1
    [ -z "$found" ] || printf '%s\n' "$found"
}
list() {
    echo "begin $(date +%s.%N)"
    while IFS= read -r mount; do
        cd "$root$mount"
        prefix=${mount#/}
        if [ "$mount" = / ]; then
            find . -maxdepth 0 -printf "$common\t-\t-\t-\t.\t\n"
        fi
        files "${prefix:+$prefix/}"
    done
    echo end
}
case $form in
plain) list ;;
zstd) list | zstd -1 -q -c ;;
esac
