# shellcheck shell=sh
# Leaves: disks unmounted, the server told, the machine restarting.
# shellcheck source=../lib.sh
. "$INSTALLER/lib.sh"

bytes=$(fact bytes)
report 97 "$bytes" 'writing to disk'
run sync
# Innermost first; a mount that does not let go would leave a disk that was never cleanly closed.
awk -v target="$TARGET" '$2 == target || index($2, target "/") == 1 { print $2 }' "$ROOT/proc/mounts" | sort -r |
    while read -r where; do
        run umount "$where" || fail "$where cannot be unmounted"
    done
run sync

# member NAME   A JSON member of the receipt, from the file of that name.
member() { [ ! -s "$STATE/receipt/$2" ] || printf '"%s":%s,' "$1" "$(json "$(cat "$STATE/receipt/$2")")"; }
hostkeys() {
    comma=
    while read -r line; do
        printf '%s%s' "$comma" "$(json "$line")"
        comma=,
    done < "$STATE/receipt/hostkeys"
}
began=$(cat "$STATE/began" 2>/dev/null || echo 0)
now=$(cut -d . -f 1 "$ROOT/proc/uptime")
receipt=$(printf '{"hostKeys":[%s],%s%s"bytes":%s,"seconds":%s}' "$(hostkeys)" "$(member espUuid esp)" \
    "$(member loader loader)" "$bytes" "$((now - began))")

report 99 "$bytes" 'reporting'
finish ok ",\"receipt\":$receipt" || fail 'the server did not take the result'
say 'reboot 100% installed, restarting' # to the console alone: for the server this install is over
run reboot -f
# The restart is on its way: nothing of this script may count as a failure any more.
[ -n "$DRY_RUN" ] || sleep 60
