#!/bin/sh
# probe.sh   Says as one JSON object what this machine is. Changes nothing.
# stdin: the root directory (one line). Texts that may hold any byte are base64.
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
need sed 'package sed'
if [ -n "$missing" ]; then
    echo "sysclone: missing ${missing#, }" >&2
    exit 3
fi

# text FILE...   Content of a file as a JSON string in base64; empty when it is not there.
text() { printf '"%s"' "$(cat -- "$@" 2>/dev/null | base64 | tr -d '\n')"; }
# said COMMAND...   What a command prints, the same way.
said() { printf '"%s"' "$("$@" 2>/dev/null </dev/null | base64 | tr -d '\n')"; }
# has COMMAND
has() { if command -v "$1" >/dev/null 2>&1; then printf true; else printf false; fi; }

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
printf ',"lsblk":'; lsblk --json --bytes --output NAME,PATH,TYPE,SIZE,LOG-SEC,FSTYPE,UUID,LABEL,PKNAME
printf ',"findmnt":'; findmnt --json --bytes --list --output TARGET,SOURCE,FSTYPE,FSROOT,USED

printf ',"sfdisk":['
comma=
for disk in $(lsblk --noheadings --nodeps --raw --output PATH,TYPE | sed -n 's/ disk$//p'); do
    # A disk without a partition table is no fault: it is left out.
    table=$(sfdisk --json "$disk" 2>/dev/null) || continue
    printf '%s%s' "$comma" "$table"
    comma=,
done
printf ']'

# The features of ext file systems, where e2fsprogs can say them.
printf ',"features":{'
comma=
if command -v dumpe2fs >/dev/null 2>&1; then
    for device in $(lsblk --noheadings --raw --output PATH,FSTYPE | sed -n 's/ ext[234]$//p'); do
        words=$(dumpe2fs -h "$device" 2>/dev/null | sed -n 's/^Filesystem features: *//p')
        printf '%s"%s":"%s"' "$comma" "$device" "$words"
        comma=,
    done
fi
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
