#!/bin/sh
# Makes a minimal Debian and runs the two commands of the README there, `make demo` and `make test`:
# check_minimal.sh [root|user]
#
# 1. In it are Debian's smallest set of packages, python3, python3-venv and make; and a clone of
#    this repository as it is committed.
# 2. "root" runs them in /root, in a chroot, where user namespaces are not permitted; "user" as a
#    plain user with 1024 descriptors. Without a word both are run, one after the other. The status
#    is 0 when all of them ended well.
# 3. Needs root, debootstrap and git. The mirror is that of this machine's apt, or MIRROR; the
#    release that of this machine, or SUITE. PIP_* and what pip's configuration names (certificates,
#    folders of wheels, indexes) hold inside too.
# 4. FOLDER keeps the Debian for the next time; otherwise it is made in a temporary folder, and
#    removed. COMMANDS="demo" runs less, ARGS goes to pytest. All mounts are made in a namespace of
#    their own, so they are gone with this script, however it ends.
set -eu

cd "$(dirname "$0")/.."

if [ -z "${CHECK_MINIMAL_MOUNTS-}" ]; then
    if [ "$(id -u)" != 0 ]; then
        echo "check_minimal.sh makes a chroot, which only root can do" >&2
        exit 1
    fi
    for program in debootstrap git unshare chroot; do
        command -v "$program" >/dev/null || { echo "$program is not installed" >&2; exit 1; }
    done
    CHECK_MINIMAL_MOUNTS=private exec unshare --mount --propagation private "$0" "$@"
fi

users=${*:-root user}
commands=${COMMANDS:-demo test}
suite=${SUITE:-$(. /etc/os-release && echo "$VERSION_CODENAME")}
mirror=${MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' "Codename: $suite" \
    "Component: main" "Created-By: Packages" | head -n 1)}
[ -n "$mirror" ] || { echo "apt knows no mirror of $suite; name one as MIRROR" >&2; exit 1; }

kept=${FOLDER-}
folder=${kept:-$(mktemp -d)}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)

end() {
    # A mount that cannot be taken away is left, and what is below it.
    awk -v below="$folder/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | sort -r |
        while read -r place; do umount "$place" || true; done
    [ -n "$kept" ] || rm -rf --one-file-system "$folder"
}
trap end EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ ! -x "$folder/usr/bin/make" ]; then
    echo "--- a minimal Debian $suite in $folder"
    debootstrap --variant=minbase --include=python3,python3-venv,make "$suite" "$folder" "$mirror" \
        >"$folder.log" 2>&1 ||
        { tail "$folder.log" >&2; exit 1; }
    rm -f "$folder.log"
fi

mount -t proc proc "$folder/proc"
mount --rbind /dev "$folder/dev"
for file in /etc/resolv.conf /etc/hosts; do
    [ ! -e "$file" ] || cp "$file" "$folder$file"
done
chroot "$folder" sh -c 'id plain >/dev/null 2>&1 || useradd --create-home plain'

# Of this machine's settings only those of pip and of certificates go along. What they name is seen
# inside at the same place, read-only.
seen=""
settings=$folder/settings.sh
: >"$settings"
setting() {
    printf "export %s='%s'\n" "$1" "$2" >>"$settings"
    for word in $2; do
        # An index in a folder names files beside it.
        case "$word" in
            file:///*) path=$(dirname "${word#file://}") ;;
            *) path=$word ;;
        esac
        case "$path" in
            /?*) [ ! -e "$path" ] || see "$path" ;;
        esac
    done
}
see() {
    case "$seen" in *"|$1|"*) return 0 ;; esac
    seen="$seen|$1|"
    if [ -d "$1" ]; then
        mkdir -p "$folder$1"
    else
        mkdir -p "$(dirname "$folder$1")"
        [ -e "$folder$1" ] || : >"$folder$1"
    fi
    mount --bind -o ro "$1" "$folder$1"
}
python3 -m pip config list 2>/dev/null |
    sed -n "s/^global\.\([a-z-]*\)='\(.*\)'$/\1 \2/p" >"$folder/pip.txt" || true
while read -r name value; do
    setting "PIP_$(echo "$name" | tr 'a-z-' 'A-Z_')" "$value"
done <"$folder/pip.txt"
settled='PIP_[A-Z_]*\|SSL_CERT_[A-Z]*\|REQUESTS_CA_BUNDLE\|[A-Za-z]*_proxy\|[A-Z]*_PROXY'
for name in $(env | sed -n "s/^\($settled\)=.*/\1/p"); do
    eval "setting $name \"\$$name\""
done

status=0
run() {
    user=$1 home=$2
    rm -rf --one-file-system "$folder$home/flowsync"
    git -c safe.directory='*' clone --quiet --no-hardlinks . "$folder$home/flowsync"
    chroot "$folder" chown -R "$user:" "$home/flowsync"
    for command in $commands; do
        echo "--- make $command as $user"
        chroot --userspec="$user" "$folder" \
            env -i HOME="$home" PATH=/usr/bin:/bin:/usr/sbin:/sbin LANG=C.UTF-8 ARGS="${ARGS-}" \
            sh -c '. /settings.sh && ulimit -S -n 1024 && ulimit -H -n "$1" &&
                cd ~/flowsync && exec make "$2"' sh "$3" "$command" \
            </dev/null || { echo "--- make $command as $user ended with status $?"; status=1; }
    done
}

for user in $users; do
    case "$user" in
        root) run root /root 4096 ;;
        user) run plain /home/plain 1024 ;;
        *) echo "run as root or as user, found $user" >&2; status=2 ;;
    esac
done
exit "$status"
