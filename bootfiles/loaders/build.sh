#!/bin/sh
# Builds the GRUB cores that firmware loads: build.sh OUTPUT-FOLDER
# Leaves x86_64-efi/core.efi and i386-pc/core.0. Every module is inside: nothing but its configuration is fetched,
# and one core works by TFTP and by HTTP boot alike.
set -eu
export LC_ALL=C
umask 022

here=$(cd "$(dirname "$0")" && pwd)
output=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

common='normal configfile linux boot echo test true sleep reboot halt minicmd ls cat read regexp loadenv
    search search_fs_uuid search_fs_file search_label chain fat ext2 part_gpt part_msdos
    net tftp http gzio serial terminal memdisk tar'

# The first script runs from a tar inside the core, because GRUB itself looks for a per-machine configuration only
# when its prefix is a TFTP one (grub-core/normal/main.c): under HTTP boot it would ask for grub.cfg alone.
cp "$here/first.cfg" "$work/first.cfg"
tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner --format=ustar -C "$work" -cf "$work/memdisk.tar" first.cfg
# Normal mode asks $prefix for lists of modules that we do not need: four misses, and by HTTP GRUB waits for each.
cat > "$work/early.cfg" <<'END'
set served=$prefix
set prefix=(memdisk)
normal (memdisk)/first.cfg
END

# core FORMAT PLATFORM NAME MODULE...
core() {
    format=$1 platform=$2 name=$3
    shift 3
    mkdir -p "$output/$platform"
    # -m sets the prefix to the memdisk: -p must come after it.
    # shellcheck disable=SC2086
    grub-mkimage -d "/usr/lib/grub/$platform" -O "$format" -m "$work/memdisk.tar" -p /boot/grub -c "$work/early.cfg" \
        -o "$output/$platform/$name" $common "$@"
}
core x86_64-efi x86_64-efi core.efi efinet efifwsetup
core i386-pc-pxe i386-pc core.0 pxe biosdisk
