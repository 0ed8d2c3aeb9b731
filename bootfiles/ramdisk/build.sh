#!/bin/sh
# Builds the ramdisk template from programs of this machine: build.sh OUTPUT
# The template is the userland of every install: init, busybox and the few programs that busybox does not replace.
# The kernel and its modules come from the image; the phases come with the autoinstall script. The same packages
# give the same bytes: sorted names, one time stamp, no owners, no inode numbers.
set -eu
export LC_ALL=C
umask 022

here=$(cd "$(dirname "$0")" && pwd)
output=$1
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin

# Programs whose busybox namesake lacks what we need (tar: xattrs; mkswap: UUIDs; modprobe: softdeps, xz; sha256sum:
# speed) or that busybox does not have.
tools='curl kmod mke2fs mkfs.vfat mkswap sfdisk sha256sum tar wipefs zstd'

root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT

# /bin, /sbin and /lib are real directories: the modules of the image are unpacked over this tree, and the kernel
# replaces a symbolic link by the directory of that name, with everything behind it lost.
mkdir -p "$root/bin" "$root/sbin" "$root/lib" "$root/lib64" "$root/usr/bin" "$root/usr/sbin" "$root/dev" \
    "$root/proc" "$root/sys" "$root/run" "$root/tmp" "$root/etc" "$root/target"

for tool in $tools; do
    path=$(command -v "$tool") || { echo "build.sh: $tool is not installed" >&2; exit 1; }
    cp -L "$path" "$root/usr/sbin/$tool"
done
ln -s kmod "$root/usr/sbin/modprobe"
ln -s mke2fs "$root/usr/sbin/mkfs.ext4"

# Everything that ld.so would load, into the one folder that it searches without a cache.
libraries() { ldd "$1" | sed -n 's|.*[[:space:]]\(/[^ ]*\) (0x.*|\1|p'; }
for tool in $tools; do libraries "$root/usr/sbin/$tool"; done | sort -u > "$root/needed"
multiarch=$(sed -n 's|.*/lib/\([^/]*-linux-gnu[^/]*\)/.*|\1|p' "$root/needed" | sort -u | head -n 1)
mkdir -p "$root/lib/$multiarch"
while read -r library; do
    case $library in
        */ld-linux* | */ld64*) mkdir -p "$root${library%/*}" && cp -L "$library" "$root$library" ;;
        *) cp -L "$library" "$root/lib/$multiarch/" ;;
    esac
done < "$root/needed"
rm "$root/needed"

cp /bin/busybox "$root/bin/busybox"
for applet in $(/bin/busybox --list); do
    # What PATH would find must be the real tool: /usr/sbin has no applet of that name.
    case " $tools modprobe " in *" $applet "*) continue ;; esac
    ln -s busybox "$root/bin/$applet" 2>/dev/null || true
done

cp "$here/init" "$root/init"
cp "$here/udhcpc.script" "$root/etc/udhcpc.script"
chmod 755 "$root/init" "$root/etc/udhcpc.script"
# curl and the C library ask for these; without them each name look-up is slower or warns.
echo 'root:x:0:0:root:/:/bin/sh' > "$root/etc/passwd"
echo 'root:x:0:' > "$root/etc/group"
echo 'hosts: files dns' > "$root/etc/nsswitch.conf"
ln -s /proc/self/mounts "$root/etc/mtab"

find "$root" -exec touch -h -d @0 {} +
(cd "$root" && find . | sort | cpio --quiet --reproducible -o -H newc -R 0:0) | gzip -9n > "$output"
