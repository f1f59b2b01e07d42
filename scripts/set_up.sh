#!/bin/sh
# Makes a virtual environment with flowsync, all its extras and its tools: set_up.sh FOLDER PYTHON
#
# 1. PYTHON is a line of find_python.sh, or `oldest` for the first of them.
# 2. requirements-dev.txt says what is installed, with digests; pip refuses anything else.
#    LOCKED=no installs what pyproject.toml allows today instead.
# 3. Quick when nothing changed: the stamp in the folder holds what the environment was made of (the
#    Python, pyproject.toml, the lock, the place of the folder). Contents are compared, not times,
#    because a checkout touches files.
# 4. Only wheels are installed: no compiler is needed, and a missing wheel is found out in seconds.
#    PIP_ONLY_BINARY=:none: allows builds.
# 5. The status is 3 where the Python is too new for a dependency, which has no wheel for it yet.
set -eu

folder=$1 python=$2
cd "$(dirname "$0")/.."
stamp=$folder/set-up
log=$folder/pip.log
lock=requirements-dev.txt

export PIP_ONLY_BINARY="${PIP_ONLY_BINARY-:all:}" PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1

[ "$python" != oldest ] || python=$(scripts/find_python.sh | head -n 1)
version=${python%% *}
program=${python#* }

wanted="$PWD/$folder ${LOCKED-} $(cat pyproject.toml $lock | cksum)
$python"
ask_version="import platform; print(platform.python_version())"

# Whether the environment was made here (its programs hold its path) by that version, and runs.
usable() {
    grep -qsF "$PWD/$folder" "$folder/bin/activate" &&
        [ "$("$folder/bin/python" -c "$ask_version")" = "$version" ]
}

pip() {
    "$folder/bin/python" -m pip "$@" >>"$log" 2>&1
}

# A package index may lack one of the pinned versions; a digest that differs is an error.
install() {
    : >"$log"
    install_all "${LOCKED-}" && return
    [ "${LOCKED-}" != no ] && grep -q "No matching distribution found" "$log" || return 1
    echo "a version that $lock pins cannot be had here: installing what pyproject.toml asks for" >&2
    install_all no
}

install_all() {
    if [ "$1" = no ]; then
        # Dependency groups came with pip 25.1; Python 3.13 still brings an older one.
        pip install --upgrade pip && pip install --editable ".[all]" --group dev
    else
        pip install --require-hashes --requirement "$lock" &&
            pip install --no-deps --no-build-isolation --editable .
    fi
}

if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && usable 2>/dev/null; then
    exit 0
fi
rm -f "$stamp"
if ! usable 2>/dev/null; then
    rm -rf "$folder"
    "$program" -m venv "$folder"
fi
echo "setting up $folder: Python $version ($program)"
if install; then
    echo "$wanted" >"$stamp"
    exit 0
fi
grep '^ERROR' "$log" >&2 || cat "$log" >&2
# An index that cannot be reached has no distribution either; pip says then that it tried again.
if grep -q "No matching distribution found" "$log" && ! grep -q Retrying "$log"; then
    echo "a dependency has no wheel for Python $version" >&2
    rm -rf "$folder"
    exit 3
fi
echo "setting up $folder with Python $version failed; pip's words are in $log" >&2
exit 1
