# shellcheck shell=sh
# What a golden client of any make gets, by the script of its make: `unpack` once its root is mounted at /machine, `personalize`,
# its fstab, then `finish DISK...`. The Debian root is the disk `root`; keys and names lie in /probes.
. /probes/machines.sh
chrooted() { chroot /machine /usr/bin/env PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive "$@"; }

unpack() {
    tar -xpf "$(readlink -f /dev/disk/by-id/virtio-root)" -C /machine --numeric-owner --xattrs --xattrs-include='*' --exclude='./dev/*'
    for folder in dev proc sys run; do mount --rbind "/$folder" "/machine/$folder"; done
    echo 'MARK unpacked'
}

# personalize NAME   Its /etc/network/interfaces on stdin. Root, and the user `admin` by sudo, let the lab's key in.
personalize() {
    cat > /machine/etc/network/interfaces
    echo "$1" > /machine/etc/hostname
    printf '127.0.0.1 localhost\n127.0.1.1 %s\n' "$1" > /machine/etc/hosts
    tr -d - < /proc/sys/kernel/random/uuid > /machine/etc/machine-id
    # Kernel names for NICs.
    ln -sf /dev/null /machine/etc/systemd/network/99-default.link
    for timer in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer; do
        ln -sf /dev/null "/machine/etc/systemd/system/$timer"
    done
    rm -f /machine/etc/ssh/ssh_host_*
    install -m 600 /probes/host_key /machine/etc/ssh/ssh_host_ed25519_key
    install -m 644 /probes/host_key.pub /machine/etc/ssh/ssh_host_ed25519_key.pub
    chrooted useradd --create-home --shell /bin/bash admin
    echo 'admin ALL=(ALL) NOPASSWD: ALL' > /machine/etc/sudoers.d/admin
    chmod 440 /machine/etc/sudoers.d/admin
    for home in root home/admin; do
        install -d -m 700 "/machine/$home/.ssh"
        install -m 600 /probes/lab_key.pub "/machine/$home/.ssh/authorized_keys"
    done
    chrooted chown -R admin:admin /home/admin/.ssh
    # GRUB on the serial port too; the words of the lab's other golden client.
    cat > /machine/etc/default/grub <<END
GRUB_TIMEOUT=0
GRUB_DISTRIBUTOR=Debian
GRUB_CMDLINE_LINUX_DEFAULT=""
GRUB_CMDLINE_LINUX="console=tty0 console=ttyS0,115200 net.ifnames=0 no_timer_check tsc=reliable mitigations=off quiet"
GRUB_TERMINAL=console
END
    # Drivers of this machine alone: a ramdisk with most of them takes a minute to make and seconds to load here.
    mkdir -p /machine/etc/initramfs-tools/conf.d
    printf 'MODULES=list\nRESUME=none\n' > /machine/etc/initramfs-tools/conf.d/small
    printf '%s\n' virtio_pci virtio_blk ext4 crc32c_generic >> /machine/etc/initramfs-tools/modules
}

# finish DISK...   Its ramdisk, and GRUB on each of the disks.
finish() {
    chrooted update-initramfs -u -k all
    echo 'MARK initramfs'
    for disk in "$@"; do chrooted grub-install --target=i386-pc "$disk"; done
    chrooted update-grub
    echo 'MARK grub'
    sync
    umount -R /machine
}
