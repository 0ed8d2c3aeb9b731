#!/bin/sh
# archive.sh   Writes the named files as one tar archive to stdout. Changes nothing.
# stdin: the root directory (a line), `zstd` or `plain` (a line), then the names, each ended by NUL.
# With zstd the archive comes as frames of at most 4 MiB. stderr ends with `sysclone: tar exit N`.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
unset TAR_OPTIONS POSIXLY_CORRECT ZSTD_CLEVEL ZSTD_NBTHREADS
IFS= read -r root
IFS= read -r form
cd "$root"

# atime would change with every capture; ctime stays, it tells later what has changed. Records of 128 KiB take a third of the
# system calls off.
archive() {
    code=0
    tar -c -f - --blocking-factor=256 --format=posix --pax-option=delete=atime --xattrs '--xattrs-include=*' --acls --sparse --numeric-owner \
        --null --verbatim-files-from --no-recursion -T - || code=$?
    echo "sysclone: tar exit $code" >&2
}
# pzstd, which most packages of zstd hold, makes such frames in one process: 2 MiB each at this level. Without it a zstd is
# started for each; its threads and buffers are made anew for each frame: without them, where it knows how, a frame takes
# half the time.
frames() {
    if pzstd -1 -q -c -p 1 < /dev/null > /dev/null 2>&1; then
        exec pzstd -1 -q -c -p 1
    fi
    filter='zstd -1 -q -c'
    for option in --single-thread --no-asyncio; do
        ! $filter "$option" < /dev/null > /dev/null 2>&1 || filter="$filter $option"
    done
    SHELL=/bin/sh exec split -b 4194304 --filter="exec $filter" -
}
case $form in
plain) archive ;;
zstd) archive | frames ;;
esac
