# shellcheck shell=sh
# Reads: hostname, fstab, hostkey. Leaves: a system that is itself and not the golden client.
# shellcheck source=../lib.sh
. "$INSTALLER/lib.sh"

report 85 "$(fact bytes)" 'fstab, names, keys'
hostname=$(fact hostname)
mkdir -p "$STATE/receipt"

run put "$TARGET/etc/fstab" 644 "$(facts fstab)"

# The golden client's own entry in /etc/hosts becomes this machine's.
golden=$(head -n 1 "$TARGET/etc/hostname" 2>/dev/null | tr -d ' \t' || true)
hosts=$(awk -v old="${golden%%.*}" -v new="$hostname" '
    /^[ \t]*#/ { print; next }
    { line = $1; own = 0
      for (i = 2; i <= NF && $i !~ /^#/; i++) { name = $i; sub(/\..*/, "", name); if (name == old) own = 1 }
      if (!own || old == "" || old == "localhost") { print; next }
      for (i = 2; i <= NF; i++) { name = $i; rest = ""; at = index(name, ".")
        if (at) { rest = substr(name, at); name = substr(name, 1, at - 1) }
        line = line (i == 2 ? "\t" : " ") (name == old ? new rest : $i) }
      print line }' "$TARGET/etc/hosts" 2>/dev/null || true)
echo "$hosts" | grep -qw -- "$hostname" || hosts=$(printf '%s\n127.0.1.1\t%s' "${hosts:-127.0.0.1	localhost}" "$hostname")
run put "$TARGET/etc/hosts" 644 "$hosts"
run put "$TARGET/etc/hostname" 644 "$hostname"

# hex BYTES   Random bytes as hex digits.
hex() { head -c "$1" /dev/urandom | hexdump -ve '1/1 "%02x"'; }
machine=$(hex 16)
# The bits that make it a UUID of version 4, as systemd itself writes it.
machine=$(echo "$machine" | sed 's|^\(.\{12\}\).\(...\).|\14\2a|')
run put "$TARGET/etc/machine-id" 444 "$machine"
# dbus keeps a copy of its own on some systems; on others it is a link to the one above.
if [ -f "$TARGET/var/lib/dbus/machine-id" ] && [ ! -L "$TARGET/var/lib/dbus/machine-id" ]; then
    run put "$TARGET/var/lib/dbus/machine-id" 444 "$machine"
fi

for seed in var/lib/systemd/random-seed var/lib/urandom/random-seed; do
    [ ! -e "$TARGET/$seed" ] || run dd if=/dev/urandom of="$TARGET/$seed" bs=512 count=1 conv=notrunc
done
# Another machine's leases, interface names by MAC, and credential key.
for old in "$TARGET"/var/lib/dhcp/*.leases "$TARGET"/var/lib/dhclient/*.lease* "$TARGET"/var/lib/dhcpcd/*.lease* \
    "$TARGET"/var/lib/NetworkManager/*.lease "$TARGET"/var/lib/NetworkManager/secret_key \
    "$TARGET"/etc/udev/rules.d/70-persistent-net.rules "$TARGET"/etc/udev/rules.d/70-persistent-cd.rules \
    "$TARGET"/var/lib/systemd/credential.secret; do
    [ ! -e "$old" ] || run rm -f "$old"
done

for old in "$TARGET"/etc/ssh/ssh_host_*_key "$TARGET"/etc/ssh/ssh_host_*_key.pub; do
    [ ! -e "$old" ] || run rm -f "$old"
done
for type in $(facts hostkey); do
    run chroot "$TARGET" /usr/bin/ssh-keygen -q -t "$type" -N '' -C "root@$hostname" -f "/etc/ssh/ssh_host_${type}_key" ||
        fail "no new $type host key: $(tail -n 1 "$STATE/log" 2>/dev/null)"
done
cat "$TARGET"/etc/ssh/ssh_host_*_key.pub > "$STATE/receipt/hostkeys" 2>/dev/null || true
