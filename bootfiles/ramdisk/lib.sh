# shellcheck shell=sh
# What all phases share. Sourced by each of them; every phase is a process of its own (sh -eu -o pipefail).
# ROOT is empty on a node; tests put a made-up machine there. DRY_RUN=1 says every change and makes none.
ROOT=${ROOT-}
INSTALLER=${INSTALLER-/run/sysclone/install}
PLAN=${PLAN-$INSTALLER/plan}
LAYOUTS=${LAYOUTS-$INSTALLER/layouts}
STATE=${STATE-$INSTALLER/state} # what phases leave for one another and for the receipt
# shellcheck disable=SC2034 # for the phases
TARGET=$ROOT/target
# Debian's busybox prefers its own applets to PATH, and its tar keeps no xattrs: these programs are named by their path.
TOOLS=${TOOLS-/usr/sbin}
PHASE=${PHASE-install}
DRY_RUN=${DRY_RUN-}

# run CMD...   The one door to everything that changes the machine.
run() {
    echo "+ $*" >&2
    [ -n "$DRY_RUN" ] || "$@"
}

# facts VERB   The arguments of each line of the plan that starts with VERB; `fact VERB` of the first one.
facts() { sed -n "s|^$1 ||p" "$PLAN"; }
fact() { sed -n "/^$1 /{ s|^$1 ||p; q; }" "$PLAN"; }

# partition DISK NUMBER   /dev/sda 3 -> /dev/sda3, /dev/nvme0n1 3 -> /dev/nvme0n1p3
partition() {
    case $1 in
        *[0-9]) echo "$1p$2" ;;
        *) echo "$1$2" ;;
    esac
}

# say WORDS   One line on every console: the kernel log reaches all of them and never blocks on a dead serial line.
say() {
    echo "sysclone: $*" >&2
    [ ! -c "$ROOT/dev/kmsg" ] || [ -n "$DRY_RUN" ] || printf '<3>sysclone: %s\n' "$*" > "$ROOT/dev/kmsg"
}

# fail REASON...   Ends the phase; the reason goes to the console and to the server.
fail() {
    mkdir -p "$STATE"
    echo "$*" > "$STATE/reason"
    echo "sysclone: $*" >&2
    exit 1
}

# need_program NAME...   Looks before anything is touched: a program that is missing half-way leaves half a machine.
need_program() {
    for program; do
        [ -n "$DRY_RUN" ] || [ -x "$TOOLS/$program" ] || fail "$program is not in this ramdisk"
    done
}

# put FILE MODE TEXT   Writes a file of the target. A symbolic link there would lead out of it: it is replaced.
put() {
    [ ! -L "$1" ] || rm -f "$1"
    mkdir -p "${1%/*}"
    printf '%s\n' "$3" > "$1"
    chmod "$2" "$1"
}

# json TEXT   A JSON string. Bytes beyond printable ASCII become `?`; new lines are kept.
json() {
    printf '"'
    printf '%s' "$1" | tr '\t' ' ' | tr -c '\040-\176\n' '?' | sed 's|[\\"]|\\&|g' | sed ':a; N; $!b a; s|\n|\\n|g'
    printf '"'
}

# next_number   Progress and log messages are counted over all phases, so that the server can drop what came twice.
next_number() {
    number=0
    [ ! -s "$STATE/number" ] || read -r number < "$STATE/number"
    number=$((number + 1))
    echo "$number" > "$STATE/number"
    echo "$number"
}

# post NAME   Sends the JSON of standard input to /node/NAME; prints the HTTP code. The body carries the session's
# secret and therefore never stands on a command line.
post() {
    "$TOOLS"/curl -sS -m "${POST_SECONDS-10}" --connect-timeout 5 -H 'Content-Type: application/json' --data-binary @- \
        -o "$STATE/answer" -w '%{http_code}' "$(fact server)/node/$1" 2>> "$STATE/posts" || true
}

# report PERCENT BYTES TEXT   Where the install is: on the console when phase or percent changed, and to the server. A
# server that does not answer now hears the next one. Percent is of the whole install and never falls.
report() {
    percent=0 said=
    mkdir -p "$STATE"
    [ ! -s "$STATE/percent" ] || read -r percent < "$STATE/percent"
    [ ! -s "$STATE/said" ] || read -r said < "$STATE/said"
    [ "$1" -le "$percent" ] || percent=$1
    echo "$percent" > "$STATE/percent"
    if [ "$PHASE $percent" != "$said" ]; then
        say "$PHASE $percent% $3"
        echo "$PHASE $percent" > "$STATE/said"
    fi
    [ -z "$DRY_RUN" ] || return 0
    printf '{"session":"%s","seq":%s,"phase":"%s","percent":%s,"bytes":%s,"text":%s}' \
        "$(fact session)" "$(next_number)" "$PHASE" "$percent" "$2" "$(json "$3")" | POST_SECONDS=4 post progress > /dev/null
}

# finish RESULT MEMBERS   Tells the server how it ended; MEMBERS are further JSON members. Half an hour covers a server
# that is being restarted; an answer 4xx is final.
finish() {
    [ -z "$DRY_RUN" ] || { echo "+ finish $*" >&2 && return 0; }
    waited=0
    while :; do
        code=$(printf '{"session":"%s","result":"%s"%s}' "$(fact session)" "$1" "$2" | post finish)
        case $code in
            2??) return 0 ;;
            4*) [ "$code" = 429 ] || { say "the server does not take the result: HTTP $code" && return 1; } ;;
        esac
        [ $waited -lt 1800 ] || { say "no answer from $(fact server)" && return 1; }
        [ $((waited % 60)) -ne 0 ] || say "$PHASE: waiting for $(fact server) (HTTP $code)"
        sleep "${RETRY-5}"
        waited=$((waited + 5))
    done
}

# failed PHASE   The reason, the last part of the log, and the end. Disks stay as they are.
failed() {
    reason=$(head -c 900 "$STATE/reason" 2>/dev/null || true)
    [ -n "$reason" ] || reason=$(tail -n 3 "$STATE/log" | head -c 900)
    say "failed in $1: $reason"
    PHASE=$1
    printf '{"session":"%s","seq":%s,"text":%s}' "$(fact session)" "$(next_number)" \
        "$(json "$(tail -c 24000 "$STATE/log")")" | post log > /dev/null
    finish failed ",\"phase\":\"$1\",\"reason\":$(json "$reason")" || true
}

# run_phases   Each phase is its own process: `set -e` works inside it and no variable leaks into the next.
run_phases() {
    mkdir -p "$STATE"
    cut -d ' ' -f 1 /proc/uptime | cut -d . -f 1 > "$STATE/began"
    for file in "$INSTALLER"/phases/*.sh; do
        name=${file##*/}
        name=${name%.sh}
        name=${name#[0-9][0-9]-}
        rm -f "$STATE/reason"
        if ! PHASE=$name sh -eu -o pipefail "$file" >> "$STATE/log" 2>&1; then
            failed "$name"
            return 1
        fi
    done
}
