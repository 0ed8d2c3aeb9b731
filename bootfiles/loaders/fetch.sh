#!/bin/sh
# Unpacks Debian packages that this machine need not have installed, of any architecture: fetch.sh OUTPUT-FOLDER TABLE ARCH
# TABLE is the file `fetched`; a package that ends in `>` stands for the first one that it depends on, as that of the newest
# kernel. Leaves their files and `versions`. apt works in folders of its own here: the lists and
# packages of this machine stay as they are, and no maintainer's script runs.
set -eu
export LC_ALL=C
umask 022

output=$1 table=$2 arch=$3
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "$*" >&2; exit 1; }

# shellcheck source=/dev/null
host=$(. /etc/os-release; echo "${VERSION_CODENAME:-}")
# The mirrors are the ones that this machine's own apt uses.
# shellcheck disable=SC2016 # apt expands these
targets() { apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | sort -u; }
mirror=$(targets | awk -v host="$host" '$2 == host && $3 == "main" { print $1; exit }')
[ -n "$mirror" ] || fail "no Debian mirror for '$host' among the apt sources of this machine"

# sources SUITE   One line a source. "host": what this machine runs, with its updates.
sources() {
    if [ "$1" = host ]; then
        targets | awk -v host="$host" '$3 == "main" && ($2 == host || $2 == host "-updates" || $2 == host "-security") {
            print "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]", $1, $2, "main" }'
    else
        echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main"
    fi
}

# in_suite COMMAND...   apt with the lists of $suite and $debian.
in_suite() {
    folder=$work/$debian-$suite
    "$@" -o APT::Architecture="$debian" -o APT::Architectures::="$debian" -o APT::Sandbox::User=root \
        -o Dir::State="$folder" -o Dir::State::Lists="$folder/lists" -o Dir::State::status=/dev/null \
        -o Dir::Cache="$folder/cache" -o Dir::Etc::sourcelist="$folder/sources.list" \
        -o Dir::Etc::sourceparts=/dev/null -o Dir::Etc::preferencesparts=/dev/null -o Dir::Etc::preferences=/dev/null \
        -o Acquire::Languages=none -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20
}

# lists   Fetches the lists of $suite once.
lists() {
    [ ! -e "$work/$debian-$suite/done" ] || return 0
    mkdir -p "$work/$debian-$suite/lists/partial" "$work/$debian-$suite/cache/archives/partial"
    sources "$suite" > "$work/$debian-$suite/sources.list"
    in_suite apt-get -qq -o APT::Update::Error-Mode=any update > "$work/said" 2>&1 || return 1
    : > "$work/$debian-$suite/done"
}

# real PACKAGE|PACKAGE>   What is to be downloaded for it.
real() {
    case $1 in
        *'>') in_suite apt-cache depends --important "${1%>}" 2> "$work/said" | sed -n 's/^ *Depends: //p' | head -n 1 | grep . ;;
        *) echo "$1" ;;
    esac
}

# take PACKAGE LEAST-VERSION|- SUITE...   From the first suite that has it new enough.
take() {
    wanted=$1 least=$2
    shift 2
    for suite in "$@"; do
        rm -rf "$work/debs"
        mkdir "$work/debs"
        lists || continue
        package=$(real "$wanted") || continue
        (cd "$work/debs" && in_suite apt-get -qq download "$package") > "$work/said" 2>&1 || continue
        version=$(dpkg-deb -f "$work/debs"/*.deb Version)
        if [ "$least" != - ] && dpkg --compare-versions "$version" lt "$least"; then
            echo "$package $version is too old, needed is $least" > "$work/said"
            continue
        fi
        dpkg-deb -x "$work/debs"/*.deb "$output"
        echo "$package $version $suite" >> "$output/versions"
        return 0
    done
    fail "$wanted for $debian: $(tail -n 3 "$work/said" | tr '\n' ' ')"
}

mkdir -p "$output"
: > "$output/versions"
grep "^$arch " "$table" > "$work/rows" || fail "$table has no packages for $arch"
while read -r _ debian package least suites; do
    # shellcheck disable=SC2086
    take "$package" "$least" $suites < /dev/null
done < "$work/rows"
