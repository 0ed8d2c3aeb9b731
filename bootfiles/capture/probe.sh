#!/bin/sh
# probe.sh   Says as one JSON object what this machine is. Changes nothing.
# stdin: the root directory (one line). What may hold any byte is base64. Judging is the server's business: what a tool or
# a file of the system says goes there as it is, under its name; a tool that is not there, or fails, says nothing.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH
IFS= read -r root

missing=
need() { command -v "$1" >/dev/null 2>&1 || missing="$missing, $1 ($2)"; }
need lsblk 'package util-linux'
need findmnt 'package util-linux'
need sfdisk 'package fdisk, or util-linux'
need find 'package findutils'
need tar 'package tar'
need base64 'package coreutils'
need timeout 'package coreutils'
need sed 'package sed'
need grep 'package grep'
if [ -z "$missing" ] && ! lsblk --help 2>&1 | grep -q -- --json; then missing=', lsblk --json (util-linux 2.27 or later)'; fi
if [ -n "$missing" ]; then
    echo "sysclone: missing ${missing#, }" >&2
    exit 3
fi

# text FILE...   Content of a file as a JSON string in base64; empty when it is not there.
text() { printf '"%s"' "$(cat -- "$@" 2>/dev/null | base64 | tr -d '\n')"; }
# said COMMAND...   What a command prints, the same way. A device that does not answer must not hold up everything.
said() { printf '"%s"' "$(timeout 60 "$@" 2>/dev/null </dev/null | head -c 2000000 | base64 | tr -d '\n')"; }
# has COMMAND
has() { if command -v "$1" >/dev/null 2>&1; then printf true; else printf false; fi; }
# columns TOOL NAME...   Those that this version of the tool knows, with commas between.
columns() {
    known=$("$1" --help 2>&1)
    shift
    list=
    for column; do
        if printf '%s\n' "$known" | grep -q "^ *$column "; then list=$list${list:+,}$column; fi
    done
    printf %s "$list"
}
# quoted TEXT   A JSON string of a name; characters that would need an escape are left out.
quoted() { printf '"%s"' "$(printf %s "$1" | tr -d '"\\\000-\037')"; }
# tell NAME SCRIPT ARGUMENT...   One more member of the object that is being written.
tell() {
    printf ',' && quoted "$1" && printf ':'
    script=$2
    shift 2
    said sh -c "$script" sh "$@"
}
# devices COLUMN PATTERN   The block devices of one kind.
devices() { lsblk --noheadings --raw --paths --output "NAME,$1" | sed -n "s/ \($2\)$//p" | sort -u; }

release=$(uname -r)
firmware=bios
[ ! -d /sys/firmware/efi ] || firmware=uefi

printf '{"arch":"%s","firmware":"%s","release":"%s"' "$(uname -m)" "$firmware" "$release"
printf ',"user":%s' "$(id -u)"
printf ',"osRelease":'; text "$root/etc/os-release"
printf ',"fstab":'; text "$root/etc/fstab"
printf ',"swaps":'; text /proc/swaps
printf ',"modules":'; text /proc/modules
printf ',"tar":'; said tar --version
printf ',"zstd":'; has zstd
printf ',"split":'; has split
printf ',"lsblk":'
lsblk --json --bytes --paths --output "$(columns lsblk NAME KNAME TYPE SIZE LOG-SEC PHY-SEC FSTYPE FSVER UUID LABEL PKNAME RO RM \
    MODEL SERIAL WWN TRAN)"
printf ',"findmnt":'
findmnt --json --bytes --list --output "$(columns findmnt TARGET SOURCE FSTYPE FSROOT OPTIONS USED SIZE)"

printf ',"sfdisk":['
comma=
for disk in $(devices TYPE 'disk\|mpath\|linear\|raid[0-9]*'); do
    # A disk without a partition table is no fault: it is left out.
    table=$(sfdisk --json "$disk" 2>/dev/null) || continue
    printf '%s%s' "$comma" "$table"
    comma=,
done
printf ']'

# --- what tools say of storage -----------------------------------------------------------------------------------
printf ',"said":{"uname":'; said uname -a
for device in $(devices FSTYPE 'ext[234]'); do
    # shellcheck disable=SC2016
    tell "dumpe2fs $device" 'dumpe2fs -h "$1" | grep -a -e "^Filesystem " -e "^Inode " -e "^Block " -e "^Reserved block " \
        -e "^Default " -e "^Journal "' "$device"
done
for device in $(devices FSTYPE vfat); do
    # The numbers of a FAT's first sector.
    # shellcheck disable=SC2016
    tell "fat $device" 'head -c 36 "$1" | od -An -v -tu1' "$device"
done
for device in $(devices FSTYPE crypto_LUKS); do
    # Key slots, salts and digests stay here: only what a new header would be made with.
    # shellcheck disable=SC2016
    tell "luks $device" 'cryptsetup luksDump "$1" | sed -n "s/^[[:space:]]*//
        /^\(Version\|UUID\|Label\|Cipher name\|Cipher mode\|Hash spec\|MK bits\|cipher\|sector\|Cipher\|Key\|PBKDF\):/p"' "$device"
done
for device in $(devices TYPE crypt); do
    # shellcheck disable=SC2016
    tell "crypt $device" 'cryptsetup status "$1"' "$device"
done
# A mount point may hold blanks, which findmnt --raw writes as \x20.
findmnt --noheadings --raw --output FSTYPE,SOURCE,TARGET | {
    seen=' '
    while read -r type source target; do
        device=${source%%\[*}
        case $type in xfs | btrfs) ;; *) continue ;; esac
        case $seen in *" $device "*) continue ;; esac
        seen="$seen$device "
        target=$(printf '%b' "$target")
        # shellcheck disable=SC2016
        case $type in
            xfs) tell "xfs $device" 'xfs_info "$1"' "$target" ;;
            btrfs)
                tell "btrfs at $device" 'btrfs inspect-internal rootid "$1"' "$target"
                tell "btrfs subvolumes $device" 'btrfs subvolume list -p -u -q "$1"' "$target"
                tell "btrfs read-only $device" 'btrfs subvolume list -r "$1"' "$target"
                tell "btrfs default $device" 'btrfs subvolume get-default "$1"' "$target"
                tell "btrfs profiles $device" 'btrfs filesystem df "$1"' "$target"
                tell "btrfs devices $device" 'btrfs filesystem show "$1"' "$target"
                tell "btrfs super $device" 'btrfs inspect-internal dump-super "$1"' "$device"
                ;;
        esac
    done
}
lvm_json='--all --reportformat json --units b --nosuffix -o'
tell lvs "lvs --segments $lvm_json lv_name,vg_name,lv_uuid,lv_attr,lv_size,segtype,stripes,stripe_size,region_size,chunk_size,seg_start,\
seg_size,pool_lv,origin,lv_tags,lv_metadata_size,discards,zero,cache_mode,cache_policy,devices"
tell vgs "vgs ${lvm_json#--all} vg_name,vg_uuid,vg_attr,vg_size,vg_free,vg_extent_size,vg_missing_pv_count,vg_tags"
tell pvs "pvs $lvm_json pv_name,pv_uuid,vg_name,pv_size,pe_start,pv_missing,pv_tags"
for array in $(devices TYPE 'linear\|raid[0-9]*'); do
    # shellcheck disable=SC2016
    tell "mdadm $array" 'mdadm --detail --export "$1"' "$array"
done
for disk in $(devices TYPE disk); do
    # shellcheck disable=SC2016
    tell "bootCode $disk" 'head -c 440 "$1" | tr -cd "\040-\176"' "$disk"
done

# /proc/swaps counts whole pages, and not the first.
# shellcheck disable=SC2016
tell swapFiles 'while read -r path type _; do
    [ "$type" = file ] && echo "$(stat -c %s -- "$(printf %b "$path")") $path"; done < /proc/swaps'

# --- how it starts, and how it is on the network -----------------------------------------------------------------
tell efibootmgr 'efibootmgr -v'
# shellcheck disable=SC2016
tell boot 'cd "$1/boot" && find . -xdev -maxdepth 1 \( -type f -o -type l \) -printf "%P\n"' "$root"
# shellcheck disable=SC2016
tell modules 'cd "$1/lib/modules" && find . -mindepth 1 -maxdepth 1 -type d -printf "%P\n"' "$root"
# shellcheck disable=SC2016
tell esp 'for esp in boot/efi efi boot; do
    [ -d "$1/$esp/EFI" ] && cd "$1/$esp" && find EFI loader -maxdepth 4 -iname "*.efi" -printf "%p\n" && break; done' "$root"
# shellcheck disable=SC2016
tell loaders 'for name in grub-install grub2-install grub-mkconfig grub2-mkconfig update-grub grubby bootctl extlinux lilo \
    yaboot zipl update-bootloader kernel-install; do command -v "$name"; done'
# shellcheck disable=SC2016
tell initramfs 'for name in update-initramfs dracut mkinitcpio booster mkinitrd mkinitfs; do command -v "$name"; done'
# shellcheck disable=SC2016
tell network 'cd "$1/etc" && find network/interfaces network/interfaces.d netplan systemd/network NetworkManager/system-connections \
    sysconfig/network-scripts sysconfig/network wicked conf.d/net dhcpcd.conf -maxdepth 1 -type f -printf "%p\n" 2>/dev/null' "$root"
tell networkServices 'systemctl is-active NetworkManager systemd-networkd networking network wicked dhcpcd connman'
# shellcheck disable=SC2016
tell nics 'for nic in /sys/class/net/*; do
    driver=$(readlink "$nic/device/driver"); master=$(readlink "$nic/master")
    kind=card; [ -e "$nic/device" ] || kind=virtual; [ ! -d "$nic/bonding" ] || kind=bond; [ ! -d "$nic/bridge" ] || kind=bridge
    [ ! -d "$nic/wireless" ] || kind=wifi
    [ ! -e "/proc/net/vlan/${nic##*/}" ] || kind=vlan
    echo "${nic##*/} $(cat "$nic/address") $kind ${driver##*/} ${master##*/}"; done'
tell selinux getenforce
tell processes 'cat /proc/[0-9]*/comm | sort -u'
# shellcheck disable=SC2016
tell versions 'for command in "tar --version" "find --version" "lsblk --version" "sfdisk --version" "lvs --version" "mdadm --version" \
    "cryptsetup --version" "mke2fs -V" "mkfs.xfs -V" "mkfs.btrfs --version" "mkfs.vfat --help" "grub-install --version" \
    "grub2-install --version" "dracut --version" "zstd --version"; do
    ! command -v "${command%% *}" >/dev/null || echo "${command%% *}: $($command 2>&1 | grep -m 1 "[0-9]\.[0-9]")"; done'
printf '}'

# --- files -------------------------------------------------------------------------------------------------------
# Some lines each; nothing that may hold a secret.
printf ',"files":{"etc/hostname":'; text "$root/etc/hostname"
# file PATH NAME   A file that is there.
file() {
    [ -f "$1" ] || return 0
    printf ',' && quoted "$2" && printf ':"%s"' "$(head -c 65536 -- "$1" 2>/dev/null | base64 | tr -d '\n')"
}
for path in etc/crypttab etc/mdadm.conf etc/mdadm/mdadm.conf etc/default/grub etc/kernel/cmdline etc/initramfs-tools/initramfs.conf \
    etc/selinux/config; do
    file "$root/$path" "$path"
done
for path in "$root"/boot/loader/entries/*.conf "$root"/boot/grub*/grubenv "$root"/etc/dracut.conf.d/*.conf; do
    file "$path" "${path#"$root"/}"
done
for path in /proc/cmdline /proc/mdstat /sys/class/dmi/id/sys_vendor /sys/class/dmi/id/product_name /sys/firmware/efi/fw_platform_size \
    /sys/block/md*/md/level /sys/block/md*/md/raid_disks /sys/block/md*/md/metadata_version /sys/block/md*/md/chunk_size \
    /sys/block/md*/md/layout /sys/block/md*/md/array_state /sys/block/md*/md/degraded /sys/block/md*/md/sync_action /sys/block/md*/md/bitmap/location \
    /sys/block/md*/md/bitmap/chunksize /sys/block/md*/md/dev-*/slot /sys/block/md*/md/dev-*/state; do
    file "$path" "$path"
done
# An EFI variable is four bytes of attributes, then its value.
for path in /sys/firmware/efi/efivars/Boot*-8be4df61-93ca-11d2-aa0d-00e098032b8c \
    /sys/firmware/efi/efivars/SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c; do
    file "$path" "$path"
done
printf '}'

printf ',"hostKeys":['
comma=
for key in "$root"/etc/ssh/ssh_host_*_key.pub; do
    [ -f "$key" ] || continue
    read -r type _ < "$key" || continue
    printf '%s"%s"' "$comma" "$type"
    comma=,
done
printf ']'

# The kernel that runs, by the names distributions give it.
printf ',"kernel":"'
for kernel in "boot/vmlinuz-$release" "boot/vmlinux-$release" "lib/modules/$release/vmlinuz" "usr/lib/modules/$release/vmlinuz"; do
    [ -f "$root/$kernel" ] || continue
    printf '%s' "$kernel"
    break
done
printf '"}\n'
