# told.sh ROOT   Everything that lies below ROOT but for what a kernel makes and what is temporary, on whatever file systems;
# three lists, each with NUL between, and packed, as one line of base64:
#   PATH NUL type|mode|uid|gid|size|mtime|links|inode|target NUL ... NUL NUL
#   SHA256  PATH NUL ... NUL NUL
#   getfattr's text
set -eu
LC_ALL=C
export LC_ALL
cd "$1"
here() {
    find . \( -path './proc/*' -o -path './sys/*' -o -path './dev/*' -o -path './run/*' -o -path './tmp/*' -o -path './var/tmp/*' \) \
        -prune -o "$@"
}
{
    here -mindepth 1 -printf '%P\0%y|%m|%U|%G|%s|%T@|%n|%D.%i|%l\0'
    printf '\0'
    here -type f -print0 | xargs -0 -r sha256sum -z --
    printf '\0'
    here ! -type l -print0 | xargs -0 -r getfattr -h -d -m - -e hex -- 2>/dev/null
} | gzip -1 | base64 -w 0
echo
