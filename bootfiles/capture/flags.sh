#!/bin/sh
# flags.sh   Names what may not be changed, or only be added to (chattr +i, +a): no archive carries that. Changes nothing.
# stdin: the root directory, then the mount points of the file systems to look at, one a line, as /, /boot.
# stdout: for each mount point `at MOUNTPOINT`, then `i NAME` or `a NAME`, as ./etc/resolv.conf; 1000 of each at most.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
command -v lsattr > /dev/null || exit 0
IFS= read -r root

while IFS= read -r mount; do
    echo "at $mount"
    cd "$root$mount"
    # Not every file system has such flags, and it is no fault when one has not.
    { find . -xdev \( -type f -o -type d \) -exec lsattr -d {} + 2> /dev/null || true; } |
        sed -n 's/^[^ ]*i[^ ]* \(\.\)/i \1/p; t; s/^[^ ]*a[^ ]* \(\.\)/a \1/p' | head -n 1000
done
