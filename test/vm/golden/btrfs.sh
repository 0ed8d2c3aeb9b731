# One disk: root and home are subvolumes of one btrfs, /srv is ext4 on LUKS with a key file that only crypttab names.
. /probes/build.sh
a=$(disk 0)
partition "$a" <<END
label: gpt
size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
size=1536MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=system
size=256MiB, type=CA7D7CCB-63ED-4C53-861C-1742536059CC, name=secret
END
mkfs.btrfs -q -f -L system "${a}2"
mkdir -p /top /machine
mount "${a}2" /top
btrfs -q subvolume create /top/@
btrfs -q subvolume create /top/@home
umount /top
head -c 64 /dev/urandom > /tmp/key
cryptsetup luksFormat -q --type luks2 --label secret --pbkdf pbkdf2 --pbkdf-force-iterations 1000 "${a}3" /tmp/key
cryptsetup open --key-file /tmp/key "${a}3" srv
mkfs.ext4 -q -L srv -O ^metadata_csum_seed,^orphan_file /dev/mapper/srv
mount -o subvol=@,compress=zstd:1 "${a}2" /machine
mkdir -p /machine/home /machine/srv
mount -o subvol=@home "${a}2" /machine/home
mount /dev/mapper/srv /machine/srv
unpack
# Behind another machine: no DHCP there.
personalize golden-btrfs <<END
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet static
  address 10.78.0.20/24
END
install -m 400 /tmp/key /machine/root/srv.luks
echo "srv UUID=$(uuid "${a}3") /root/srv.luks luks" > /machine/etc/crypttab
cat > /machine/etc/fstab <<END
UUID=$(uuid "${a}2") / btrfs subvol=@,compress=zstd:1 0 0
UUID=$(uuid "${a}2") /home btrfs subvol=@home 0 0
/dev/mapper/srv /srv ext4 defaults 0 2
END
# With MODULES=list only what is named is in the ramdisk.
echo btrfs >> /machine/etc/initramfs-tools/modules
finish "$a"
cryptsetup close srv
