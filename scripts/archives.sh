# Sourced by the download scripts: fetch archives with resume, check and unpack them.
# Archives are kept in DIR/.download until the data set is complete; a run that was stopped goes on where it was.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)

fail() {
    echo "$*" >&2
    exit 1
}

say() {
    echo "$*" >&2
}

# start DIR: make the folder of the data set and those for archives and for what is being unpacked.
start() {
    target=$1
    archives=$target/.download
    unpacked=$target/.unpacking
    mkdir -p "$archives" || fail "cannot make '$archives'; name another folder: bash $0 DIR"
    rm -rf "$unpacked"
    command -v curl >/dev/null || command -v wget >/dev/null ||
        fail "curl or wget is missing, which fetch the archives; install one (Debian, Ubuntu: apt-get install curl)."
}

# need_zip, need_rar: stop before the download where nothing can unpack it.
need_zip() {
    command -v unzip >/dev/null || command -v bsdtar >/dev/null ||
        fail "unzip is missing, which unpacks the archives; install it (Debian, Ubuntu: apt-get install unzip)."
}

need_rar() {
    for rar_tool in unrar 7zz 7z bsdtar; do
        command -v "$rar_tool" >/dev/null && return
    done
    fail "unrar is missing, which unpacks the archives; install it (Debian: apt-get install unrar from non-free," \
        "Ubuntu: apt-get install unrar, macOS: brew install rar), or 7z, or bsdtar (apt-get install libarchive-tools)."
}

num_bytes() {
    wc -c <"$1" | tr -d ' '
}

# remote_bytes URL: the size that the server announces, nothing where it does not.
remote_bytes() {
    command -v curl >/dev/null || return 0
    curl --silent --location --head ${INSECURE:+--insecure} "$1" | tr -d '\r' |
        awk 'tolower($1) == "content-length:" { size = $2 } END { print size }' || true
}

# fetch URL: into the folder of archives, on from where an earlier run was stopped.
fetch() {
    local url=$1 file=$archives/${1##*/}
    [ -f "$file" ] && return
    say "Fetching $url ..."
    if [ ! -s "$file.part" ] || [ "$(num_bytes "$file.part")" != "$(remote_bytes "$url")" ]; then
        transfer "$url" "$file.part" || fail_to_fetch "$url" $?
    fi
    mv "$file.part" "$file"
}

# transfer URL FILE: append what is missing.
transfer() {
    if ! command -v curl >/dev/null; then
        wget --continue ${INSECURE:+--no-check-certificate} --output-document "$2" "$1"
        return
    fi
    local code=0
    curl --fail --location --retry "${RETRIES:-3}" --continue-at - ${INSECURE:+--insecure} --output "$2" "$1" || code=$?
    if [ $code = 33 ]; then # the server cannot resume
        rm -f "$2"
        code=0
        curl --fail --location --retry "${RETRIES:-3}" ${INSECURE:+--insecure} --output "$2" "$1" || code=$?
    fi
    return $code
}

fail_to_fetch() {
    local why="the transfer broke off"
    case "$(command -v curl >/dev/null && echo curl || echo wget) $2" in
        "curl 6" | "curl 7" | "wget 4") why="the server cannot be reached; is the network there?" ;;
        "curl 22" | "curl 37" | "wget 8") why="the file is not there any more; see the page of the data set in data/README.md" ;;
        "curl 60" | "wget 5") why="the server's certificate is not accepted; INSECURE=1 goes on without" ;;
    esac
    fail "cannot fetch $1: $why (exit code $2). Run again to resume."
}

# check_bytes FILE BYTES: compare the size of an archive.
check_bytes() {
    local found
    found=$(num_bytes "$archives/$1")
    [ "$found" = "$2" ] || discard "$1" "has $found bytes instead of $2"
}

# check_sum FILE md5|sha256 SUM: compare the checksum of an archive.
check_sum() {
    local found
    case $2 in
        md5) found=$( (md5sum "$archives/$1" 2>/dev/null || md5 -r "$archives/$1") | cut -d ' ' -f 1) ;;
        sha256) found=$( (sha256sum "$archives/$1" 2>/dev/null || shasum -a 256 "$archives/$1") | cut -d ' ' -f 1) ;;
    esac
    [ "$found" = "$3" ] || discard "$1" "has $2 ${found:-(no tool to compute it)} instead of $3"
}

discard() {
    rm -f "$archives/$1"
    fail "$1 $2: damaged on the way, or changed by its publisher. It was deleted; run again."
}

# unpack FILE DIR: the archive's own checksums are checked on the way.
unpack() {
    say "Unpacking ${1##*/} ..."
    mkdir -p "$2"
    extract "$1" "$2" ||
        fail "${1##*/} cannot be unpacked: it is damaged, or of a kind that this tool does not know (for RAR, unrar does)." \
            "To fetch it anew, delete '$archives' and run again."
    rm -rf "$2/__MACOSX"
}

extract() {
    case ${1##*.} in
        zip) if command -v unzip >/dev/null; then unzip -q -o "$1" -d "$2"; else bsdtar -xf "$1" -C "$2"; fi ;;
        rar)
            case $rar_tool in
                unrar) unrar x -o+ -idq "$1" "$2/" ;;
                bsdtar) bsdtar -xf "$1" -C "$2" ;;
                *) "$rar_tool" x -y -bd -o"$2" "$1" >/dev/null ;;
            esac
            ;;
    esac
}

# folder_with DIR PATTERN: the folder in DIR that holds the first file of that name.
folder_with() {
    local first
    first=$(find "$1" -type f -name "$2" ! -name '._*' | sort | head -n 1)
    [ -n "$first" ] || fail "the archive in '$1' holds no '$2'; see the page of the data set in data/README.md."
    dirname "$first"
}

count_videos() {
    [ -d "$1" ] || { echo 0; return; }
    find "$1" -type f -name '*.avi' ! -name '._*' | wc -l | tr -d ' '
}

# finish DIR NUM: compare the number of videos, delete the archives, say what to do next.
finish() {
    local found
    found=$(count_videos "$1")
    [ "$found" -ge "$2" ] || fail "'$1' holds $found videos instead of $2; delete '$1' and run again."
    rm -rf "$archives" "$unpacked"
    say "$found videos in '$target'. Look at them: c3dhash data check $target"
}
