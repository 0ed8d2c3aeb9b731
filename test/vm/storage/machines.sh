# shellcheck shell=sh
# Machines of several make, built on the blank disks one after the other; what probe.sh says on each goes to /probes/out.
disk() { readlink -f "/dev/disk/by-id/virtio-blank$1"; }
settle() { udevadm settle; }

# partition DISK   sfdisk input on stdin.
partition() { sfdisk --quiet --wipe always "$1" && settle; }

# wipe   Everything off, all disks blank.
wipe() {
    cd /
    swapoff -a || true
    [ ! -d /machine ] || umount -R /machine || true
    vgchange -qq -an 2>/dev/null || true
    for name in $(dmsetup ls --target crypt 2>/dev/null | sed -n 's/\t.*//p'); do cryptsetup close "$name"; done
    vgchange -qq -an 2>/dev/null || true
    for array in /dev/md[0-9]*; do [ ! -b "$array" ] || mdadm --quiet --stop "$array" || true; done
    for number in 0 1 2 3; do
        for part in "$(disk $number)"?*; do [ ! -b "$part" ] || wipefs -qaf "$part"; done
        wipefs -qaf "$(disk $number)"
        blkdiscard -f "$(disk $number)" 2>/dev/null || dd if=/dev/zero of="$(disk $number)" bs=1M count=64 status=none
        blockdev --rereadpt "$(disk $number)" 2>/dev/null || true
    done
    settle
}

# system DEVICE [OPTIONS]   A root file system to be probed in: its own files, and the tools of this ramdisk.
system() {
    mkdir -p /machine
    mount -o "${2:-defaults}" "$1" /machine
    for folder in dev proc sys run usr etc/ssh boot tmp root home var lib; do mkdir -p "/machine/$folder"; done
    rmdir /machine/lib
    for link in bin sbin lib lib64; do [ ! -L /$link ] || ln -sfn "usr/$link" "/machine/$link"; done
    mount --bind /usr /machine/usr
    for folder in dev proc sys run; do mount --rbind /$folder /machine/$folder; done
    cat > /machine/etc/os-release <<END
PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"
VERSION_ID="12"
ID=debian
END
    echo storage > /machine/etc/hostname
    : > "/machine/boot/vmlinuz-$(uname -r)"
    echo 'ssh-ed25519 AAAA root@storage' > /machine/etc/ssh/ssh_host_ed25519_key.pub
}

# probe NAME   What the script says, run as a capture runs it.
probe() {
    settle
    cp /probes/probe.sh /machine/tmp/probe.sh
    echo / | chroot /machine sh /tmp/probe.sh > "/probes/out/$1.json" 2> "/probes/out/$1.err"
    rm /machine/tmp/probe.sh
    echo "MARK $1 $(stat -c %s "/probes/out/$1.json") bytes"
}

uuid() { blkid -s UUID -o value "$1"; }
