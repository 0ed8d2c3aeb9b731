# shellcheck shell=sh
# Reads: everything. Destroys: nothing. All that can be seen beforehand to go wrong goes wrong here.
# shellcheck source=../lib.sh
. "$INSTALLER/lib.sh"

report 1 0 "$(fact image) onto $(fact disk | cut -d ' ' -f 1)"
need_program curl mke2fs mkfs.vfat mkswap sfdisk sha256sum tar wipefs zstd
[ "$(uname -m)" = "$(fact arch)" ] || fail "this machine is $(uname -m), the image is $(fact arch)"

fact disk | {
    read -r disk bytes sector
    name=${disk##*/}
    [ -e "$ROOT$disk" ] || fail "$disk: no such disk"
    now=$(($(cat "$ROOT/sys/block/$name/size") * 512))
    [ "$now" = "$bytes" ] || fail "$disk has $now bytes, the plan was made for $bytes"
    [ "$(cat "$ROOT/sys/block/$name/queue/logical_block_size")" = "$sector" ] ||
        fail "$disk does not have sectors of $sector bytes"
    [ "$(cat "$ROOT/sys/block/$name/ro")" = 0 ] || fail "$disk is read-only"
    if grep -q "^$disk" "$ROOT/proc/mounts" "$ROOT/proc/swaps"; then fail "$disk is in use"; fi
    for holder in "$ROOT/sys/block/$name/holders"/* "$ROOT/sys/block/$name/$name"*/holders/*; do
        [ ! -e "$holder" ] || fail "$disk is held by ${holder##*/}"
    done
}
for filesystem in $(facts part | cut -d ' ' -f 2 | grep -v -e '^-$' -e '^swap$' | sort -u); do
    grep -qw "$filesystem" "$ROOT/proc/filesystems" || fail "the kernel cannot mount $filesystem"
done
case $(fact firmware) in
    uefi) [ -d "$ROOT/sys/firmware/efi" ] || fail 'this machine was not started by UEFI firmware' ;;
    bios) [ ! -d "$ROOT/sys/firmware/efi" ] || fail 'this machine was started by UEFI firmware' ;;
esac
