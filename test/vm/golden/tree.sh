# tree.sh DIR...   Files of every kind below each DIR/tree: what a copy can get wrong.
set -eu
for dir; do
    mkdir -p "$dir/tree/deep/er" "$dir/tree/sticky"
    cd "$dir/tree"
    head -c 300000 /dev/urandom > noise
    echo owned > owned
    chown 1234:567890 owned
    chmod 4751 owned
    chmod 1777 sticky
    chmod 2750 deep
    chown 12:34 deep
    ln noise deep/noise-too
    ln noise deep/er/noise-three
    cp /bin/true capable
    setcap cap_net_raw,cap_net_admin+ep capable
    ln capable deep/capable-too
    echo attributes > attributes
    setfattr -n user.sysclone.note -v "two words" attributes
    setfattr -n user.empty attributes
    setfattr -n user.on-folder -v yes sticky
    setfacl -m u:1234:rw,g:567:r attributes
    setfacl -d -m u:99:rwx deep/er
    truncate -s 5000000 sparse
    printf end >> sparse
    : > empty
    ln -s '../no where|at//all' dangling
    ln -s noise link
    mkfifo -m 640 fifo
    mknod -m 622 node c 5 1
    echo odd > 'blank, "quoted" * and
newline'
    echo odd > "$(printf 'bytes-\377\001-\303\244')"
    echo odd > -rf
    touch -d '2001-02-03 04:05:06.123456789' empty
    touch -h -d '1999-01-01 00:00:00.5' dangling
    touch -d '2005-05-05 05:05:05.25' sticky
done
sync
