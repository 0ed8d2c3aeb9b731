# shellcheck shell=sh
# Reads: disk, part, label, features, mount. Destroys: that disk. Leaves: its file systems, mounted at $TARGET.
# shellcheck source=../lib.sh
. "$INSTALLER/lib.sh"

read -r disk _ <<END
$(fact disk)
END
layout=$LAYOUTS/${disk##*/}
[ -s "$layout" ] || fail "no layout for $disk" # all is looked at before anything is touched
report 2 0 "wiping $disk"

# Old signatures inside the old partitions would come back to life where a new partition begins at the same place.
for old in "$ROOT$disk"?*; do
    [ ! -b "$old" ] || run "$TOOLS"/wipefs --quiet --all --force "$old"
done
run "$TOOLS"/wipefs --quiet --all --force "$ROOT$disk"
# The text was made and checked on the server.
run "$TOOLS"/sfdisk --quiet --wipe always --wipe-partitions always "$ROOT$disk" < "$layout"

# wait_for DEVICE   The kernel makes the node a moment after sfdisk told it of the new table.
wait_for() {
    tries=0
    while [ ! -b "$1" ]; do
        tries=$((tries + 1))
        [ $tries -lt 100 ] || fail "$1 did not appear"
        sleep 0.1
    done
}

label_of() { facts label | sed -n "s|^$1 ||p"; }

# make NUMBER FILESYSTEM UUID DEVICE
make() {
    label=$(label_of "$1")
    case $2 in
        ext4)
            run "$TOOLS"/mke2fs -q -F -t ext4 -U "$3" -L "$label" -E nodiscard -O "$(facts features | sed -n "s|^$1 ||p")" "$4"
            ;;
        vfat) run "$TOOLS"/mkfs.vfat -i "$(echo "$3" | tr -d -)" -n "${label:-NO NAME}" "$4" ;;
        swap) run "$TOOLS"/mkswap -U "$3" -L "$label" "$4" ;;
        *) fail "no way to make a $2 file system" ;;
    esac
}

facts part | while read -r number filesystem uuid; do
    device=$(partition "$disk" "$number")
    [ -n "$DRY_RUN" ] || wait_for "$device"
    [ "$filesystem" != - ] || continue
    report 4 0 "$filesystem on $device"
    make "$number" "$filesystem" "$uuid" "$ROOT$device"
done

# grub-mkconfig writes root=UUID=... only when this link exists; there is no udev here that makes it.
facts part | while read -r number filesystem uuid; do
    [ "$filesystem" != - ] || continue
    run mkdir -p "$ROOT/dev/disk/by-uuid"
    run ln -sf "$(partition "$disk" "$number")" "$ROOT/dev/disk/by-uuid/$uuid"
done

# In the order of the plan: a mount point comes after the file system that it lies in. vfat keeps neither owners nor
# modes: `quiet` lets tar set them in vain.
facts mount | while read -r number filesystem where; do
    options=defaults
    [ "$filesystem" != vfat ] || options=quiet,umask=0077
    run mkdir -p "$TARGET${where%/}"
    run mount -t "$filesystem" -o "$options" "$ROOT$(partition "$disk" "$number")" "$TARGET${where%/}"
done
