# LVM snapshots by hold.sh: what is read there is what was, and nothing of them is left however it ends.
. /probes/machines.sh
a=$(disk 0)
wipe
pvcreate -q "$a"
vgcreate -q vg0 "$a"
lvcreate -qy -n root -L 256M vg0
lvcreate -qy -n pool -L 128M --type thin-pool vg0
lvcreate -qy -n data -V 512M --thinpool pool vg0
mkfs.ext4 -q /dev/vg0/root
mkfs.xfs -q /dev/vg0/data
mkdir -p /machine
mount /dev/vg0/root /machine
mkdir -p '/machine/var/with blank' /machine/plain
mount /dev/vg0/data '/machine/var/with blank'
mount -t tmpfs tmpfs /machine/plain
echo here > /machine/plain/file

# begin   Starts a hold in the background and waits for its root.
begin() {
    rm -f /tmp/in /tmp/out
    echo before > /machine/file
    echo before > '/machine/var/with blank/file'
    sync
    mkfifo /tmp/in
    PATIENCE=10 sh /probes/hold.sh < /tmp/in > /tmp/out 2> /tmp/err &
    held=$!
    exec 9> /tmp/in
    printf '%s\n' "id $1" 'root /machine' "freeze echo frozen >> /tmp/$1" "thaw echo thawed >> /tmp/$1" 'snapshot vg0 root - /' \
        ${more:+"$more"} \
        'snapshot vg0 data pool /var/with blank' 'plain /plain' go >&9
    until grep -q . /tmp/out; do sleep 0.2; done
    root=$(sed -n 's/^root //p' /tmp/out)
}
# left   What is still there of snapshots, mounts and files of the script.
left() { lvs --noheadings -o lv_name vg0 | grep -c sysclone || true; grep -c sysclone-capture /proc/mounts || true; ls -d /run/sysclone-capture.* 2>/dev/null | wc -l; }
say() { echo "$1 $(left | tr '\n' ' ')$(tr '\n' ' ' < "/tmp/$1")" >> /probes/out/holds; }

begin released
echo after > /machine/file
echo after > '/machine/var/with blank/file'
echo "read $(cat "$root/file" "$root/var/with blank/file" "$root/plain/file" | tr '\n' ' ')thawed $(grep -c thawed /tmp/released)" > /probes/out/holds
echo end >&9
exec 9>&-
wait $held || true
say released
begin lost
exec 9>&-
wait $held || true
say lost
begin killed
kill -9 $held
sleep 15
say killed
exec 9>&-
begin silent
sleep 25
say silent
exec 9>&-
# A group that has too little left for a fifth of each: they share it.
lvcreate -qy -n home -L 560M vg0
mkfs.ext4 -q /dev/vg0/home
mkdir -p /machine/home
mount /dev/vg0/home /machine/home
echo there > /machine/home/file
more='snapshot vg0 home - /home'
begin tight
echo gone > /machine/home/file
echo "tight $(cat "$root/file" "$root/home/file" | tr '\n' ' ')$(lvs --noheadings -o lv_name vg0 | grep -c sysclone)" >> /probes/out/holds
echo end >&9
exec 9>&-
wait $held || true
say tight
cat /tmp/err > /probes/out/holds.err
wipe
