#!/bin/sh
# Makes a virtual environment with flowsync, all its extras and one dependency group: set_up.sh FOLDER oldest|newest GROUP
#
# 1. "oldest" is the oldest supported Python found, and there is no other. "newest" is the newest found besides that one; where a
#    dependency has no wheel for it yet, the next newest, and so on. When none is left the folder is removed: there is nothing to test with.
# 2. Quick when nothing changed: the stamp in the folder holds what the environment was made of (the Pythons found, pyproject.toml, the
#    place of the folder). Contents are compared, not times, because a checkout touches files.
# 3. Only wheels are installed: nobody needs a compiler, and a missing wheel is found out in seconds. PIP_ONLY_BINARY=:none: allows builds.
set -eu

folder=$1 which=$2 group=$3
cd "$(dirname "$0")/.."
stamp=$folder/set-up
log=$folder/pip.log

export PIP_ONLY_BINARY="${PIP_ONLY_BINARY-:all:}" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

pythons=$(scripts/find_python.sh)
if [ "$which" = oldest ]; then
    candidates=$(echo "$pythons" | head -n 1)
else
    candidates=$(echo "$pythons" | tail -n +2 | sort -t. -k2,2nr)
fi

wanted="$PWD/$folder $group $(cksum <pyproject.toml)
$candidates"

# Whether the environment was made here (its programs hold its path) by that version, and still runs.
usable() {
    grep -qsF "$PWD/$folder" "$folder/bin/activate" &&
        "$folder/bin/python" -c "import sys; sys.exit('%d.%d.%d' % sys.version_info[:3] != '$1')" 2>/dev/null
}

pip() {
    "$folder/bin/python" -m pip "$@" >>"$log" 2>&1
}

install() {
    : >"$log"
    # Dependency groups came with pip 25.1; Python 3.13 still brings an older one.
    { "$folder/bin/python" -m pip install --help | grep -q -- --group || pip install --upgrade pip; } &&
        pip install --editable ".[all]" --group "$group"
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$folder/bin/python" -c "" 2>/dev/null; then
    exit 0
fi
rm -f "$stamp"

while read -r version python; do
    [ -n "$version" ] || continue
    if ! usable "$version"; then
        rm -rf "$folder"
        "$python" -m venv "$folder"
    fi
    echo "setting up $folder: Python $version ($python)"
    if install; then
        echo "$wanted" >"$stamp"
        exit 0
    fi
    grep '^ERROR' "$log" >&2 || cat "$log" >&2
    # An index that cannot be reached has no distribution either; pip says then that it tried again.
    if [ "$which" = oldest ] || ! grep -q "No matching distribution found" "$log" || grep -q Retrying "$log"; then
        echo "setting up $folder with Python $version failed; pip's words are in $log" >&2
        exit 1
    fi
    echo "a dependency has no wheel for Python $version: trying the next newest" >&2
done <<LIST
$candidates
LIST

rm -rf "$folder"
