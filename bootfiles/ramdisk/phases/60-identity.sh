# shellcheck shell=sh
# Reads: hostname, fstab, hostkey, scrub, swapfile. Leaves: a system that is itself and not the golden client.
# shellcheck source=../lib.sh
. "$INSTALLER/lib.sh"

report 85 "$(fact bytes)" 'fstab, names, keys'
hostname=$(fact hostname)
mkdir -p "$STATE/receipt"
# is NAME RULE   What the image says is done with a part of the golden client's identity.
is() { [ "$(facts scrub | sed -n "s|^$1 ||p")" = "$2" ]; }

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
# uuid   A random one (RFC 9562, version 4).
uuid() { hex 16 | sed 's|^\(.\{8\}\)\(.\{4\}\).\(...\).\(...\)\(.\{12\}\)$|\1-\2-4\3-a\4-\5|'; }

if is machine-id regenerate; then
    # The form that systemd itself writes.
    machine=$(uuid | tr -d -)
    run put "$TARGET/etc/machine-id" 444 "$machine"
    # dbus keeps a copy of its own on some systems; on others it is a link to the one above.
    if [ -f "$TARGET/var/lib/dbus/machine-id" ] && [ ! -L "$TARGET/var/lib/dbus/machine-id" ]; then
        run put "$TARGET/var/lib/dbus/machine-id" 444 "$machine"
    fi
fi
if is machine-id drop; then run rm -f "$TARGET/etc/machine-id" "$TARGET/var/lib/dbus/machine-id"; fi

# seed FILE   512 random bytes that only root can read.
seed() { (umask 077 && head -c 512 /dev/urandom > "$1"); }
for seed in var/lib/systemd/random-seed var/lib/urandom/random-seed; do
    [ -e "$TARGET/$seed" ] || { is random-seed regenerate && [ -d "$TARGET/${seed%/*}" ]; } || continue
    run rm -f "$TARGET/$seed"
    run seed "$TARGET/$seed"
done

# drop NAME FILE...   Those of the files that came with the image, unless it says that they are kept.
drop() {
    is "$1" drop || return 0
    shift
    for old; do
        [ ! -e "$old" ] || run rm -f "$old"
    done
}
drop dhcp-leases "$TARGET"/var/lib/dhcp/*.leases "$TARGET"/var/lib/dhclient/*.lease* "$TARGET"/var/lib/dhcpcd/*.lease* \
    "$TARGET"/var/lib/NetworkManager/*.lease
drop nm-state "$TARGET"/var/lib/NetworkManager/secret_key
drop persistent-net "$TARGET"/etc/udev/rules.d/70-persistent-net.rules "$TARGET"/etc/udev/rules.d/70-persistent-cd.rules
drop credential-secret "$TARGET"/var/lib/systemd/credential.secret

# edit FILE SED-SCRIPT   Owner, mode and links stay.
edit() {
    sed "$2" "$1" > "$STATE/edit"
    cmp -s "$STATE/edit" "$1" || run write "$1" "$STATE/edit"
}
write() { cat "$2" > "$1"; }
if is network-connections regenerate; then
    # A connection of its own everywhere, and for whatever card is there.
    for file in "$TARGET"/etc/NetworkManager/system-connections/*; do
        [ ! -f "$file" ] || edit "$file" "s|^uuid=.*|uuid=$(uuid)|; /^mac-address=/d; /^cloned-mac-address=..:/d"
    done
    for file in "$TARGET"/etc/sysconfig/network-scripts/ifcfg-* "$TARGET"/etc/sysconfig/network/ifcfg-*; do
        [ -f "$file" ] || continue
        device=${file##*/ifcfg-}
        # Where the card was known by its address alone, the file's name says which one is meant.
        if grep -q '^[[:space:]]*HWADDR=' "$file" && ! grep -q '^[[:space:]]*DEVICE=' "$file"; then
            edit "$file" "s|^[[:space:]]*HWADDR=.*|DEVICE=$device|"
        fi
        edit "$file" '/^[[:space:]]*\(HWADDR\|MACADDR\|LLADDR\|UUID\)[[:space:]]*=/d'
    done
    for file in "$TARGET"/etc/network/interfaces "$TARGET"/etc/network/interfaces.d/*; do
        [ ! -f "$file" ] || edit "$file" '/^[[:space:]]*hwaddress[[:space:]]/d'
    done
fi
if is iscsi-initiator regenerate && [ -d "$TARGET/etc/iscsi" ]; then
    run put "$TARGET/etc/iscsi/initiatorname.iscsi" 600 "InitiatorName=iqn.2016-04.com.open-iscsi:$(hex 6)"
fi
if is nvme-host regenerate && [ -d "$TARGET/etc/nvme" ]; then
    host=$(uuid)
    run put "$TARGET/etc/nvme/hostnqn" 644 "nqn.2014-08.org.nvmexpress:uuid:$host"
    run put "$TARGET/etc/nvme/hostid" 644 "$host"
fi

# own FILE MODE TEXT   A file for root and the group shadow, where there is one.
own() {
    run put "$1" "$2" "$3"
    run chown "0:$(sed -n 's|^shadow:[^:]*:\([0-9]*\):.*|\1|p' "$TARGET/etc/group" | grep . || echo 0)" "$1"
}
if is shadow regenerate; then
    # `*` is no password at all, where `!` is a locked account: keys still let in.
    own "$TARGET/etc/shadow" 640 "$(awk -F: '$1 != "" { print $1 ":*:19000:0:99999:7:::" }' "$TARGET/etc/passwd")"
    own "$TARGET/etc/gshadow" 640 "$(awk -F: '$1 != "" { print $1 ":*::" $4 }' "$TARGET/etc/group")"
fi

facts swapfile | while read -r size path; do
    run mkdir -p "$TARGET${path%/*}"
    run rm -f "$TARGET$path"
    run fallocate -l "$size" "$TARGET$path" || run dd if=/dev/zero of="$TARGET$path" bs=1048576 count=$((size / 1048576))
    run chmod 600 "$TARGET$path"
    run "$TOOLS"/mkswap "$TARGET$path"
done

if is ssh-host-keys keep; then
    cat "$TARGET"/etc/ssh/ssh_host_*_key.pub > "$STATE/receipt/hostkeys" 2>/dev/null || true
    exit 0
fi
for old in "$TARGET"/etc/ssh/ssh_host_*_key "$TARGET"/etc/ssh/ssh_host_*_key.pub; do
    [ ! -e "$old" ] || run rm -f "$old"
done
for type in $(facts hostkey); do
    run chroot "$TARGET" /usr/bin/ssh-keygen -q -t "$type" -N '' -C "root@$hostname" -f "/etc/ssh/ssh_host_${type}_key" ||
        fail "no new $type host key: $(tail -n 1 "$STATE/log" 2>/dev/null)"
done
cat "$TARGET"/etc/ssh/ssh_host_*_key.pub > "$STATE/receipt/hostkeys" 2>/dev/null || true
