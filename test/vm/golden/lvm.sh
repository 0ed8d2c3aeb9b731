# Two disks, each with GRUB, in mirrors: /boot on one, LVM with /, /srv and swap on the other.
. /probes/build.sh
a=$(disk 0) b=$(disk 1)
for disk in "$a" "$b"; do
    partition "$disk" <<END
label: gpt
size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
size=160MiB, type=A19D880F-05FC-4D3B-A006-743F0F84911E, name=boot
type=A19D880F-05FC-4D3B-A006-743F0F84911E, name=system
END
done
mirror() { mdadm --quiet --create "$1" --run --level=1 --metadata=1.2 --raid-devices=2 --assume-clean --bitmap="$5" --name="$2" --homehost=golden-lvm "$3" "$4"; }
mirror /dev/md0 boot "${a}2" "${b}2" none
mirror /dev/md1 system "${a}3" "${b}3" internal
settle
mkfs.ext4 -q -L boot -O ^metadata_csum_seed,^orphan_file /dev/md0
pvcreate -q /dev/md1
vgcreate -q vg0 /dev/md1
lvcreate -qy -n root -L 960M vg0
lvcreate -qy -n srv -L 320M vg0
lvcreate -qy -n swap -L 64M vg0
mkfs.ext4 -q -L root -O ^metadata_csum_seed,^orphan_file /dev/vg0/root
mkfs.xfs -q -L srv /dev/vg0/srv
mkswap -q -L swap /dev/vg0/swap
mkdir -p /machine
mount /dev/vg0/root /machine
mkdir -p /machine/boot /machine/srv
mount /dev/md0 /machine/boot
mount /dev/vg0/srv /machine/srv
unpack
personalize golden-lvm <<END
auto lo
iface lo inet loopback

auto eth0
iface eth0 inet dhcp
END
mkdir -p /machine/etc/mdadm
{ echo 'HOMEHOST <system>'; mdadm --detail --scan; } > /machine/etc/mdadm/mdadm.conf
cat > /machine/etc/fstab <<END
/dev/mapper/vg0-root / ext4 errors=remount-ro 0 1
UUID=$(uuid /dev/md0) /boot ext4 defaults 0 2
/dev/vg0/srv /srv xfs nodev 0 2
/dev/vg0/swap none swap sw 0 0
END
finish "$a" "$b"
vgchange -qq -an
mdadm --quiet --stop /dev/md0 /dev/md1
