# shellcheck shell=sh
# Reads: firmware, disk, vendor, esp; needs 50-chroot. Leaves: a disk that its firmware starts, and what the receipt says of it.
# shellcheck source=../lib.sh
. "$INSTALLER/lib.sh"

bytes=$(fact bytes)
disk=$(fact disk | cut -d ' ' -f 1)
firmware=$(fact firmware)
vendor=$(fact vendor)
mkdir -p "$STATE/receipt"

# in_target CMD...   With the target's own programs.
in_target() { run chroot "$TARGET" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }
has() { [ -e "$TARGET/usr/sbin/$1" ] || [ -e "$TARGET/usr/bin/$1" ] || [ -e "$TARGET/sbin/$1" ]; }
platform() { [ -d "$TARGET/usr/lib/grub/$1" ] || fail "the image cannot start by $firmware: it lacks GRUB's $1 modules"; }

has grub-install || fail 'the image has no grub-install'
has grub-mkconfig || fail 'the image has no grub-mkconfig'
case $firmware in
    bios) platform i386-pc ;;
    uefi) platform x86_64-efi ;;
esac

# An initramfs that was made for the golden client's hardware alone may not find this machine's disk.
if [ -x "$TARGET/usr/sbin/update-initramfs" ] &&
    { cat "$TARGET/etc/initramfs-tools/initramfs.conf" "$TARGET"/etc/initramfs-tools/conf.d/* 2>/dev/null || true; } |
    grep '^MODULES=dep' > /dev/null; then
    report 86 "$bytes" 'initramfs for this hardware'
    in_target update-initramfs -u -k all || fail 'update-initramfs failed'
fi

report 88 "$bytes" "boot loader for $firmware"
case $firmware in
    bios) in_target grub-install --target=i386-pc --recheck "$disk" || fail "grub-install failed on $disk" ;;
    uefi)
        set -- --target=x86_64-efi --efi-directory="$(fact esp | cut -d ' ' -f 2)" --recheck
        nvram=$(ls -A "$ROOT/sys/firmware/efi/efivars" 2>/dev/null || true)
        # The firmware's own list of systems, and the path that it tries when that list is lost.
        if [ -z "$nvram" ] || ! in_target grub-install "$@" --bootloader-id="$vendor"; then
            say "$PHASE: the firmware's boot list cannot be written; the fallback path alone starts this disk"
            in_target grub-install "$@" --bootloader-id="$vendor" --no-nvram || fail 'grub-install failed'
        fi
        in_target grub-install "$@" --removable --no-nvram || fail 'grub-install --removable failed'
        fact esp | cut -d ' ' -f 1 > "$STATE/receipt/esp"
        esp=$TARGET$(fact esp | cut -d ' ' -f 2)
        for name in shimx64.efi grubx64.efi; do
            if [ -e "$esp/EFI/$vendor/$name" ]; then
                echo "/EFI/$vendor/$name" > "$STATE/receipt/loader"
                break
            fi
        done
        ;;
esac
report 92 "$bytes" 'boot menu'
in_target grub-mkconfig -o /boot/grub/grub.cfg || fail 'grub-mkconfig failed'
