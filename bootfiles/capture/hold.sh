#!/bin/sh
# hold.sh   Holds this machine's files still for the time of a copy, and lets go of them whatever happens.
# stdin: lines, then a line now and then for as long as it shall hold; its end, or a minute without a line, ends it:
#   id WORD | root DIR | freeze COMMAND | thaw COMMAND | snapshot VG LV POOL|- MOUNTPOINT | plain MOUNTPOINT | go
# stdout: `root DIR` when the files can be read there, `failed REASON`, and at the end `released`.
# Snapshots are LVM's, with the tag sysclone_capture; mounted read-only below /run/sysclone-capture.ID.
set -eu
LC_ALL=C
PATH=/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export LC_ALL PATH

id='' root=/ freeze='' thaw='' volumes='' places=''
while IFS= read -r line; do
    rest=${line#* }
    case $line in
        id\ *) id=$rest ;;
        root\ *) root=$rest ;;
        freeze\ *) freeze=$rest ;;
        thaw\ *) thaw=$rest ;;
        snapshot\ *) volumes="$volumes$rest
" ;;
        plain\ *) places="$places$rest
" ;;
        go) break ;;
    esac
done
case $id in *[!a-z0-9]* | '') echo 'failed no id'; exit 1 ;; esac
base=/run/sysclone-capture.$id
beat=$base.beat
frozen=

# Nothing below may end before everything is let go: neither by a signal nor by a reader that has gone.
trap '' HUP INT TERM PIPE
thaw_now() {
    [ -n "$frozen" ] || return 0
    frozen=
    [ -z "$thaw" ] || sh -c "$thaw" >&2 </dev/null || echo "sysclone: the thaw command ended with $?" >&2
}
release() {
    set +e
    thaw_now
    grep " $base/" /proc/self/mounts | cut -d ' ' -f 2 | sort -r | while read -r where; do umount -l "$(printf '%b' "$where")"; done
    lvs --noheadings -o vg_name,lv_name "@sysclone_$id" 2>/dev/null | while read -r group volume; do
        lvremove -qqfy "$group/$volume" >&2 || echo "sysclone: $group/$volume is not removed" >&2
    done
    rm -rf "$base.beat"
    rmdir "$base/root" "$base" 2>/dev/null
    echo released 2>/dev/null
}
failed() {
    release
    echo "failed $*"
    exit 1
}

# Of a capture whose machine was switched off in the middle: a snapshot that nobody holds fills up and slows its origin.
lvs --noheadings -o vg_name,lv_name,lv_tags '@sysclone_capture' 2>/dev/null | while read -r group volume tags; do
    owner=$(echo "$tags" | tr , '\n' | sed -n 's|^sysclone_\([a-z0-9]*\)$|\1|p' | grep -v '^capture$' || true)
    [ -n "$owner" ] && [ -e "/run/sysclone-capture.$owner.beat" ] || lvremove -qqfy "$group/$volume" >&2 || true
done

mkdir -p "$base/root"
: > "$beat"
frozen=yes
if [ -n "$freeze" ]; then sh -c "$freeze" >&2 </dev/null || failed "the freeze command ended with $?"; fi

# thick GROUP   Its volumes that are to have a snapshot which needs room of its own.
thick() { printf '%s' "$volumes" | awk -v group="$1" '$1 == group && $3 == "-" { print $2 }'; }
# bytes COMMAND...   What it says in bytes; nothing when it fails: no fault here may end us.
bytes() { "$@" --noheadings --units b --nosuffix 2>/dev/null | tr -cd '0-9'; }
# fits GROUP   Whether it has room for a fifth of each of them.
fits() {
    need=0
    extent=$(bytes vgs -o vg_extent_size "$1")
    for each in $(thick "$1"); do
        size=$(bytes lvs -o lv_size "$1/$each")
        need=$((need + ${size:-0} / 5 + ${extent:-0}))
    done
    free=$(bytes vgs -o vg_free "$1")
    [ "$need" -le "${free:-0}" ]
}
tight=' '
for group in $(printf '%s' "$volumes" | awk '$3 == "-" { print $1 }' | sort -u); do
    fits "$group" || tight="$tight$group "
done
# room GROUP VOLUME   What its snapshot may take: a fifth of it, or else a share of what the group has left, the same for all.
room() {
    case $tight in
        *" $1 "*) thick "$1" | awk -v volume="$2" '$1 == volume { on = 1 } on { left++ } END { print int(100 / (left ? left : 1)) "%FREE" }' ;;
        *) echo 20%ORIGIN ;;
    esac
}

number=0
made=''
while read -r group volume pool where; do
    [ -n "$group" ] || continue
    number=$((number + 1))
    name=sysclone_${id}_$number
    # A snapshot of a thin volume needs no room of its own.
    if [ "$pool" != - ]; then
        why=$(lvcreate -qy -s -kn -n "$name" --addtag sysclone_capture --addtag "sysclone_$id" "$group/$volume" 2>&1) || failed "$why"
    else
        why=$(lvcreate -qy -s -l "$(room "$group" "$volume")" -n "$name" --addtag sysclone_capture --addtag "sysclone_$id" \
            "$group/$volume" 2>&1) || failed "$group/$volume: $(echo "$why" | tail -n 1)"
    fi
    made="$made/dev/$group/$name $where
"
done <<END
$volumes
END
# The snapshots stand: the machine may go on. Without them it waits until the copy is done.
[ -z "$made" ] || thaw_now

place=$root
if [ -n "$made" ]; then
    place=$base/root
    # Parents first.
    { echo "$made"; echo "$places" | sed '/./s|^|- |'; } | sort -k 2 | while read -r device where; do
        [ -n "$where" ] || continue
        if [ "$device" = - ]; then
            mount --bind "$root$where" "$place$where" || exit 1
        else
            options=ro
            [ "$(blkid -s TYPE -o value "$device")" != xfs ] || options=ro,nouuid
            mount -o "$options" "$device" "$place${where%/}" || exit 1
        fi
    done || failed 'a snapshot cannot be mounted'
fi
echo "root $place"

# The server says something every few seconds. Its machine may be gone without the connection knowing.
watcher=$$
(
    while sleep 5; do
        [ -e "$beat" ] || exit 0
        kill -0 "$watcher" 2>/dev/null || { release; exit 0; } # it was killed with -9
        now=$(date +%s)
        [ $((now - $(stat -c %Y "$beat"))) -lt "${PATIENCE-60}" ] || { kill -USR1 "$watcher"; exit 0; }
    done
) >/dev/null 2>&1 </dev/null &
trap 'release; exit 1' USR1
while IFS= read -r line; do
    : > "$beat"
    [ "$line" != end ] || break
done
# A snapshot that has run full holds rubbish: what was copied from it is not to be used.
full=$(lvs --noheadings -o lv_name,lv_attr "@sysclone_$id" 2>/dev/null | awk 'substr($2, 5, 1) == "I" || substr($2, 5, 1) == "S" { print $1 }')
release
[ -z "$full" ] || echo "failed the snapshot has run full: $full"
