# shellcheck shell=sh
# Reads: blobs, layer, superseded, override, bytes. Leaves: the image's files under $TARGET, with the overrides laid over
# them. Without the members that later layers replace or remove, layers are disjoint and are unpacked side by side; those
# that hold directories come last, one after the other, because unpacking files changes the times of the directories they
# lie in.
# shellcheck source=../lib.sh
. "$INSTALLER/lib.sh"

total=$(fact bytes)
work=$STATE/layers
mkdir -p "$work"
PAUSE=${PAUSE-2}
PATIENCE=${PATIENCE-150}
RECORD=10240 # bytes of a tar record, which is what a checkpoint counts

# fetch HEX BYTES   The blob on standard output. A connection that breaks is taken up where it broke, at the next base
# URL. A minute without a new byte counts as broken; some five minutes of nothing but that end it. A server that says that
# others go first (503) is waited for: some three hours.
fetch() {
    got=0
    lost=0
    busy=0
    while [ "$got" -lt "$2" ]; do
        for base in $(facts blobs); do
            # With -C curl itself refuses a server that answers a request for the rest with the whole.
            "$TOOLS"/curl -sS -f --connect-timeout 10 --speed-limit 1 --speed-time 60 -C "$got" \
                -w '%{stderr}\n%{http_code} %{size_download}\n' "$base/blobs/sha256/$1" 2> "$work/$1.curl" || true
            read -r code more <<END
$(tail -n 1 "$work/$1.curl")
END
            case $more in *[!0-9]* | '') more=0 ;; esac
            got=$((got + more))
            [ "$got" -lt "$2" ] || return 0
            if [ "$more" -gt 0 ]; then
                lost=0
                busy=0
            fi
            case $code in
                503) busy=$((busy + 1)) ;;
                4*) lost=$((lost + 30)) ;;
                *) lost=$((lost + 1)) ;;
            esac
            if [ $lost -gt "$PATIENCE" ] || [ $busy -gt 5000 ]; then
                echo "$base/blobs/sha256/$1 cannot be fetched: $(grep -m 1 curl: "$work/$1.curl" || echo "HTTP $code")" > "$work/$1.lost"
                return 1
            fi
            sleep "$PAUSE"
        done
    done
}

# A stage that fails still reads to the end: the digest of what came says whether the blob or the disk is at fault.
expand() {
    "$TOOLS"/zstd -q -d -c 2> "$work/$1.zstd" || echo 'zstd: cannot be decompressed' >> "$work/$1.bad"
    cat > /dev/null
}
# Members named .wh.X say that X is gone from an older layer: nothing is to be made of them.
write() {
    set -- "$1" --no-anchored --wildcards --exclude='.wh.*'
    [ ! -s "$work/$1.superseded" ] || set -- "$@" --no-recursion --anchored -X "$work/$1.superseded"
    layer=$1
    shift
    LC_ALL=C "$TOOLS"/tar -x -p -f - -C "$TARGET" --same-owner --numeric-owner --xattrs --xattrs-include='*' --acls "$@" \
        --warning=no-timestamp --checkpoint=400 --checkpoint-action="exec=echo \$TAR_CHECKPOINT > $work/$layer.records" \
        2> "$work/$layer.tar" || tail -n 1 "$work/$layer.tar" >> "$work/$layer.bad"
    cat > /dev/null
}

# superseded HEX   The members of that layer which later layers replace or remove, for tar. Says why it cannot be had.
superseded() {
    read -r list length <<END
$(facts superseded | sed -n "s|^sha256:$1 sha256:||p")
END
    [ -n "$list" ] || return 0
    if ! fetch "$list" "$length" > "$work/$1.list"; then
        cat "$work/$list.lost"
    elif ! "$TOOLS"/sha256sum < "$work/$1.list" | grep -q "^$list "; then
        echo "list sha256:$list is corrupt"
    elif ! "$TOOLS"/zstd -q -d -c < "$work/$1.list" > "$work/$1.superseded"; then
        echo "list sha256:$list cannot be decompressed"
    fi
}

# An override lies over what is there: folders keep their owner and mode, and a link to a folder stays one. The image's own
# tar does it, for which the image's links lead into the image.
lay() {
    run chroot "$TARGET" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C tar -x -p -f - -C / --same-owner \
        --numeric-owner --xattrs --xattrs-include='*' --acls --no-overwrite-dir --keep-directory-symlink \
        --warning=no-timestamp 2> "$work/$1.tar" || tail -n 1 "$work/$1.tar" >> "$work/$1.bad"
    cat > /dev/null
}

# unpack write|lay WHAT DIGEST BYTES   One layer or override, checked while it streams.
unpack() {
    how=$1
    what=$2
    shift 2
    hex=${1#sha256:}
    refused=$(superseded "$hex")
    if [ -n "$refused" ]; then
        echo "$what $1: $refused" > "$work/$hex.why"
        return
    fi
    mkfifo "$work/$hex.copy"
    sha256sum_of_copy "$hex" &
    fetch "$hex" "$2" | tee "$work/$hex.copy" | expand "$hex" | "$how" "$hex" || true
    wait $!
    read -r came _ < "$work/$hex.sum"
    if [ -s "$work/$hex.lost" ]; then
        echo "$what $1: $(cat "$work/$hex.lost")" > "$work/$hex.why"
    elif [ "$came" != "$hex" ]; then
        echo "$what $1 is corrupt: the bytes that came have sha256:$came" > "$work/$hex.why"
    elif [ -s "$work/$hex.bad" ]; then
        echo "$what $1 cannot be unpacked: $(cat "$work/$hex.bad")" > "$work/$hex.why"
    else
        echo ok > "$work/$hex.done"
    fi
}
sha256sum_of_copy() { "$TOOLS"/sha256sum < "$work/$1.copy" > "$work/$1.sum"; }

# unpacked   Bytes of tar so far, over all layers, into $now. Only what the shell itself can do: this runs beside tar.
unpacked() {
    now=0
    while read -r digest _ tarbytes _; do
        hex=${digest#sha256:}
        here=0
        [ ! -s "$work/$hex.records" ] || read -r here < "$work/$hex.records" || here=0
        here=$((here * RECORD))
        if [ -e "$work/$hex.done" ] || [ "$here" -gt "$tarbytes" ]; then here=$tarbytes; fi
        now=$((now + here))
    done < "$work/list"
}
facts layer > "$work/list"

# Copying is from 6 to 84 percent of the whole.
tell() {
    unpacked
    report $((6 + now * 78 / (total > 0 ? total : 1))) "$now" "$((now / 1000000)) of $((total / 1000000)) MB"
}

# pending   Whether any of the layers $wanted is still under way; ends the phase when one has failed.
pending() {
    left=
    for each in $wanted; do
        [ ! -s "$work/$each.why" ] || fail "$(cat "$work/$each.why")"
        [ -e "$work/$each.done" ] || left=yes
    done
    [ -n "$left" ]
}

# copy DIGEST...   These layers at once, with a report every other second.
copy() {
    wanted=
    for digest; do
        bytes=$(facts layer | sed -n "s|^$digest \([0-9]*\) .*|\1|p")
        wanted="$wanted ${digest#sha256:}"
        run unpack write layer "$digest" "$bytes" &
    done
    if [ -n "$DRY_RUN" ]; then
        wait
        return
    fi
    while pending; do
        tell
        sleep "$PAUSE"
    done
    tell
}

# of KIND   The layers of that kind (parallel, last).
of() { facts layer | sed -n "s| .* $1\$||p"; }

# shellcheck disable=SC2046 # digests are words
copy $(of parallel)
for each_last in $(of last); do
    copy "$each_last"
done

# One after the other: of two that have the same file the later one counts.
facts override | while read -r digest bytes name; do
    report 84 "$total" "override $name"
    # Two that are alike have one digest: the second is laid anew.
    run rm -f "$work/${digest#sha256:}".*
    run unpack lay "override $name" "$digest" "$bytes"
    [ ! -s "$work/${digest#sha256:}.why" ] || fail "$(cat "$work/${digest#sha256:}.why")"
done
