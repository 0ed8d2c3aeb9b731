#!/bin/sh
# flags.sh   Names what may not be changed, or only be added to (chattr +i, +a): no archive carries that. Changes nothing.
# stdin: the root directory; the mount points of the file systems that are looked at whole, one a line, as /, /boot; an empty
# line; then names of files and directories that are looked at by themselves, as ./etc/fstab, each ended by NUL.
# stdout: `at MOUNTPOINT` for each of these and `at /` for the names, then `i NAME` or `a NAME`, as ./etc/resolv.conf; 1000
# at most each time. Without lsattr nothing at all.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
command -v lsattr > /dev/null || exit 0
IFS= read -r root

# What of lsattr's lines is said.
flagged() { sed -n 's/^[^ ]*i[^ ]* \(\.\)/i \1/p; t; s/^[^ ]*a[^ ]* \(\.\)/a \1/p' | head -n 1000; }

while IFS= read -r mount && [ -n "$mount" ]; do
    echo "at $mount"
    cd "$root$mount"
    # Not every file system has such flags, and it is no fault when one has not.
    { find . -xdev \( -type f -o -type d \) -exec lsattr -d {} + 2> /dev/null || true; } | flagged
done
echo "at /"
cd "$root"
# A file may be gone.
{ xargs -0 -r lsattr -d -- 2> /dev/null || true; } | flagged
