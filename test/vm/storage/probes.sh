# Everything that a golden client may be made of: `probes.sh NAME` makes that machine. Each says in its fstab what it mounts.
. /probes/machines.sh
a=$(disk 0) b=$(disk 1) c=$(disk 2) d=$(disk 3)
wipe

# --- lvm: every kind of volume, over two disks, one of them whole -------------------------------------------------
machine_lvm() {
partition "$a" <<END
label: gpt
size=1MiB, type=21686148-6449-6E6F-744E-656564454649, name=bios
size=64MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B, name=esp
size=128MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4, name=boot, attrs=LegacyBIOSBootable
type=E6D6D379-F507-44C2-A23C-238F2A3DF928
END
mkfs.vfat -F 32 -n ESP -i A1B2C3D4 "${a}2" > /dev/null
mkfs.ext4 -q -L boot "${a}3"
pvcreate -q "${a}4" "$b" "$c"
vgcreate -q --physicalextentsize 8M --addtag ssd vg0 "${a}4" "$b" "$c"
lvcreate -qy -n root-1 -L 256M vg0 "${a}4"
lvcreate -qy -n striped -L 128M --stripes 2 --stripesize 64k vg0
lvcreate -qy -n mirrored -L 64M --type raid1 --mirrors 1 vg0
lvcreate -qy -n old-mirror -L 64M --type mirror --mirrors 1 vg0
lvcreate -qy -n parity -L 64M --type raid5 --stripes 2 vg0
lvcreate -qy -n pool -L 128M --type thin-pool --chunksize 128k vg0
lvcreate -qy -n thin -V 1G --thinpool pool vg0
lvcreate -qy -n cached -L 64M vg0 "${a}4"
lvcreate -qy -n fast -L 32M --type cache-pool vg0 "$b"
lvconvert -qy --type cache --cachepool vg0/fast vg0/cached
lvcreate -qy -n swap -L 64M vg0
lvcreate -qy -n later -s -L 16M vg0/root-1
mkfs.xfs -q -L data -m reflink=1,bigtime=1 /dev/vg0/thin
mkfs.ext4 -q -L root -O ^metadata_csum_seed,^orphan_file /dev/vg0/root-1
mkfs.ext4 -q -i 8192 -m 1 /dev/vg0/striped
mkfs.ext2 -q /dev/vg0/mirrored
mkfs.ext3 -q /dev/vg0/parity
mkswap -q -L swap /dev/vg0/swap
swapon -p 5 /dev/vg0/swap
system /dev/vg0/root-1
mount "${a}3" /machine/boot
: > "/machine/boot/vmlinuz-$(uname -r)"
mkdir -p /machine/boot/efi/EFI/debian '/machine/srv/with blank' /machine/home /machine/var/lib/data
mount "${a}2" /machine/boot/efi
mkdir -p /machine/boot/efi/EFI/debian
: > /machine/boot/efi/EFI/debian/shimx64.efi
mount /dev/vg0/thin /machine/var/lib/data
mount /dev/vg0/striped /machine/home
mount /dev/vg0/parity '/machine/srv/with blank'
dd if=/dev/zero of=/machine/swapfile bs=1M count=16 status=none
chmod 600 /machine/swapfile
mkswap -q -U 11111111-2222-3333-4444-555555555555 /machine/swapfile
swapon /machine/swapfile
cat > /machine/etc/fstab <<END
# made by test/vm/storage
/dev/mapper/vg0-root--1 / ext4 errors=remount-ro 0 1
UUID=$(uuid "${a}3") /boot ext4 defaults 0 2
UUID=A1B2-C3D4 /boot/efi vfat umask=0077 0 1
/dev/vg0/striped	/home	ext4	nodev	0	2
LABEL=data /var/lib/data xfs defaults 0 0
/dev/vg0/parity /srv/with\\040blank ext3 defaults 0 2
/dev/vg0/mirrored /mnt ext2 noauto 0 0
/dev/vg0/swap none swap sw,pri=5 0 0
/swapfile none swap sw 0 0
END
probe lvm
}

# --- md: root on a mirror with metadata 1.0, data on raid5 1.2 with a partition table, a spare, an external bitmap ---
machine_md() {
for disk in "$a" "$b" "$c" "$d"; do
    partition "$disk" <<END
label: dos
size=256MiB, type=fd, bootable
size=256MiB, type=fd
size=64MiB, type=82
END
done
mdadm --quiet --create /dev/md0 --run --level=1 --metadata=1.0 --raid-devices=2 --bitmap=internal --name=root --homehost=storage "${a}1" "${b}1"
mdadm --quiet --create /dev/md1 --run --level=5 --metadata=1.2 --raid-devices=3 --spare-devices=1 --chunk=64 --bitmap=none --assume-clean --name=data --homehost=storage "${a}2" "${b}2" "${c}2" "${d}2"
mdadm --quiet --create /dev/md2 --run --level=10 --layout=f2 --raid-devices=2 --metadata=1.2 --bitmap=none --name=scratch --homehost=storage "${c}1" "${d}1"
partition /dev/md1 <<END
label: gpt
size=340MiB, name=first
name=second
END
mkfs.ext4 -q -L root /dev/md0
mkfs.xfs -q -f /dev/md1p1
mkfs.ext4 -q /dev/md2
mkswap -q "${a}3"
swapon "${a}3"
system /dev/md0
mkdir -p /machine/data /machine/scratch /machine/etc/mdadm
mount /dev/md1p1 /machine/data
mount /dev/md2 /machine/scratch
mdadm --detail --scan > /machine/etc/mdadm/mdadm.conf
cat > /machine/etc/fstab <<END
UUID=$(uuid /dev/md0) / ext4 defaults 0 1
/dev/md1p1 /data xfs defaults 0 0
/dev/disk/by-id/md-name-storage:scratch /scratch ext4 defaults 0 0
UUID=$(uuid "${a}3") none swap sw 0 0
END
probe md
}

# --- luks: root on LVM on LUKS 2 on md, data on LUKS 1, swap with a key of each boot -------------------------------
machine_luks() {
for disk in "$a" "$b"; do
    partition "$disk" <<END
label: gpt
size=128MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
type=A19D880F-05FC-4D3B-A006-743F0F84911E
END
done
partition "$c" <<END
label: gpt
size=64MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
size=64MiB, type=0657FD6D-A4AB-43C4-84E5-0933C84B4F4F
END
mkfs.ext4 -q "${a}1"
mdadm --quiet --create /dev/md127 --run --level=1 --metadata=1.2 --raid-devices=2 --assume-clean --bitmap=internal "${a}2" "${b}2"
printf secret > /tmp/key
cryptsetup luksFormat -q --type luks2 --label encrypted --pbkdf pbkdf2 --pbkdf-force-iterations 1000 /dev/md127 /tmp/key
cryptsetup open --key-file /tmp/key /dev/md127 crypt-root
cryptsetup luksFormat -q --type luks1 --pbkdf-force-iterations 1000 "${c}1" /tmp/key
cryptsetup open --key-file /tmp/key "${c}1" crypt_data
cryptsetup open --type plain --cipher aes-xts-plain64 --key-size 256 --key-file /dev/urandom "${c}2" cryptswap
pvcreate -q /dev/mapper/crypt-root
vgcreate -q system /dev/mapper/crypt-root
lvcreate -qy -n root -l 60%VG system
mkfs.ext4 -q /dev/system/root
mkfs.ext4 -q /dev/mapper/crypt_data
mkswap -q /dev/mapper/cryptswap
swapon /dev/mapper/cryptswap
system /dev/system/root
mkdir -p /machine/boot /machine/data
mount "${a}1" /machine/boot
: > "/machine/boot/vmlinuz-$(uname -r)"
mount /dev/mapper/crypt_data /machine/data
cat > /machine/etc/crypttab <<END
crypt-root UUID=$(uuid /dev/md127) none luks,discard
crypt_data UUID=$(uuid "${c}1") /etc/keys/data.key luks
cryptswap ${c}2 /dev/urandom swap,cipher=aes-xts-plain64,size=256
END
cat > /machine/etc/fstab <<END
/dev/mapper/system-root / ext4 defaults 0 1
UUID=$(uuid "${a}1") /boot ext4 defaults 0 2
/dev/mapper/crypt_data /data ext4 defaults 0 2
/dev/mapper/cryptswap none swap sw 0 0
END
probe luks
}

# --- btrfs: subvolumes mounted, nested, not mounted, read-only; two disks ------------------------------------------
machine_btrfs() {
partition "$a" <<END
label: gpt
size=64MiB, type=C12A7328-F81F-11D2-BA4B-00A0C93EC93B
type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END
mkfs.vfat "${a}1" > /dev/null
mkfs.btrfs -q -f -L pool -d raid1 -m raid1 "${a}2" "$b"
mkdir -p /top
mount "${a}2" /top
for name in @ @home @old; do btrfs -q subvolume create "/top/$name"; done
umount /top
system "${a}2" subvol=@,compress=zstd:1
mkdir -p /machine/home /machine/boot/efi /machine/var/lib /machine/srv/bound /machine/.snapshots
mount -o subvol=@home "${a}2" /machine/home
btrfs -q subvolume create /machine/var/lib/machines
btrfs -q subvolume create /machine/srv/www
btrfs -q subvolume create /machine/srv/www/deep
btrfs -q subvolume snapshot -r /machine /machine/.snapshots/1
mount --bind /machine/srv/www /machine/srv/bound
mount "${a}1" /machine/boot/efi
btrfs -q filesystem mkswapfile --size 16m /machine/swapfile 2> /dev/null || { touch /machine/swapfile; chattr +C /machine/swapfile; dd if=/dev/zero of=/machine/swapfile bs=1M count=16 status=none; chmod 600 /machine/swapfile; mkswap -q /machine/swapfile; }
cat > /machine/etc/fstab <<END
UUID=$(uuid "${a}2") / btrfs subvol=@,compress=zstd:1 0 0
UUID=$(uuid "${a}2") /home btrfs subvol=@home 0 0
UUID=$(uuid "${a}1") /boot/efi vfat umask=0077 0 1
END
probe btrfs
}

# --- what no clone can have: jfs, a degraded array, a mirror of which a part is missing ----------------------------
machine_refused() {
partition "$a" <<END
label: gpt
size=256MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
size=64MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
size=64MiB, type=0FC63DAF-8483-4772-8E79-3D69D8477DE4
END
mkfs.ext4 -q "${a}1"
mkfs.jfs -q "${a}2" > /dev/null
mdadm --quiet --create /dev/md0 --run --level=1 --metadata=1.2 --raid-devices=2 "${a}3" missing
mkfs.ext4 -q /dev/md0
system "${a}1"
mkdir -p /machine/jfs /machine/array
mount "${a}2" /machine/jfs
mount /dev/md0 /machine/array
echo "UUID=$(uuid "${a}1") / ext4 defaults 0 1" > /machine/etc/fstab
probe refused
}

"machine_$1"
