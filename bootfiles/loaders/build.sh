#!/bin/sh
# Builds what firmware loads: build.sh OUTPUT-FOLDER ARCH [FETCHED-FOLDER]
# Leaves a GRUB core for each firmware of ARCH. Every module is inside: nothing but its configuration is fetched, and
# one core works by TFTP and by HTTP boot alike. With what fetch.sh unpacked it leaves, as Debian made them, shim and
# the signed GRUB (shim/), iPXE (ipxe/) and pxelinux (pxelinux/).
set -eu
export LC_ALL=C
umask 022

here=$(cd "$(dirname "$0")" && pwd)
output=$1 arch=$2 fetched=${3:-}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

common='normal configfile linux boot echo test true sleep reboot halt minicmd ls cat read regexp loadenv
    search search_fs_uuid search_fs_file search_label fat ext2 part_gpt part_msdos
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

# core FORMAT PLATFORM NAME MODULE...   From the packages of this machine or the fetched ones.
core() {
    format=$1 platform=$2 name=$3
    shift 3
    modules=/usr/lib/grub/$platform
    [ ! -d "$fetched$modules" ] || modules=$fetched$modules
    mkdir -p "$output/$platform"
    # -m sets the prefix to the memdisk: -p must come after it.
    # shellcheck disable=SC2086
    grub-mkimage -d "$modules" -O "$format" -m "$work/memdisk.tar" -p /boot/grub -c "$work/early.cfg" \
        -o "$output/$platform/$name" $common "$@"
}

# take FOLDER FILE AS   A file as it was fetched; Debian has some of them as links from the root.
take() {
    mkdir -p "$output/$1"
    file=$fetched/$2
    [ ! -L "$file" ] || file=$fetched$(readlink "$file")
    cp "$file" "$output/$1/$3"
}

# Shim loads the others from its own folder by these names; MokManager (mm) when a key must be enrolled.
secure() { # CPU GRUB-PLATFORM
    take shim "usr/lib/shim/shim$1.efi.signed" "shim$1.efi"
    take shim "usr/lib/shim/mm$1.efi.signed" "mm$1.efi"
    take shim "usr/lib/grub/$2-signed/grubnet$1.efi.signed" "grub$1.efi"
}

case $arch in
    x86_64)
        core x86_64-efi x86_64-efi core.efi chain efinet efifwsetup smbios
        core i386-pc-pxe i386-pc core.0 chain pxe biosdisk smbios
        if [ -n "$fetched" ]; then
            secure x64 x86_64-efi
            for name in undionly.kpxe snponly.efi ipxe.efi; do
                take ipxe "usr/lib/ipxe/$name" "$name"
            done
            take pxelinux usr/lib/PXELINUX/pxelinux.0 pxelinux.0
            take pxelinux usr/lib/syslinux/modules/bios/ldlinux.c32 ldlinux.c32
        fi
        ;;
    aarch64)
        core arm64-efi arm64-efi core.efi chain efinet efifwsetup smbios
        secure aa64 arm64-efi
        take ipxe usr/lib/ipxe/ipxe-arm64.efi ipxe-arm64.efi
        ;;
    ppc64le)
        core powerpc-ieee1275 powerpc-ieee1275 core.elf ofnet
        ;;
    *)
        echo "no loaders for $arch" >&2
        exit 1
        ;;
esac
