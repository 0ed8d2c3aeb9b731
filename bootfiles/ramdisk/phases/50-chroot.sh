# shellcheck shell=sh
# Reads: firmware. Leaves: a target in which its own programs can run. An image holds no /dev, /proc, /sys and /run: what
# was in them on the golden client was never on its disk.
# shellcheck source=../lib.sh
. "$INSTALLER/lib.sh"

for folder in dev proc sys; do
    run mkdir -p "$TARGET/$folder"
    run mount -o bind "$ROOT/$folder" "$TARGET/$folder"
done
run mount -t tmpfs -o mode=0755 tmpfs "$TARGET/run"
if [ "$(fact firmware)" = uefi ] && [ -n "$(ls -A "$ROOT/sys/firmware/efi/efivars" 2>/dev/null)" ]; then
    run mount -o bind "$ROOT/sys/firmware/efi/efivars" "$TARGET/sys/firmware/efi/efivars" ||
        say "$PHASE: the firmware's variables stay out of reach"
fi
