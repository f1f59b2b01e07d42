#!/bin/sh
# Prints the supported Pythons of this machine, oldest first, one line a minor version: "3.11.2
# /usr/bin/python3.11".
#
# 1. Looked at: python3.11 … python3.15 and python3 in every folder of PATH; then, where pyenv is on
#    PATH, all that it keeps.
# 2. A Python counts when it has really run. The name alone says little: pyenv's shims exist for
#    versions that are not selected, and Debian's python3 cannot make environments until
#    python3-venv is installed.
# 3. Alphas, betas and candidates do not count. A Python in a virtual environment stands for the one
#    it was made from.
# 4. Of the oldest minor version the oldest patch counts, as distributions keep it; of the others
#    the newest.
# 5. Prints nothing, and says on stderr what was looked for, when there is none; the exit status is
#    1 then.
set -eu

minors="11 12 13 14 15"

probe='
import ctypes, ensurepip, ssl, sys, venv, zlib
if sys.version_info >= (3, 11) and sys.version_info.releaselevel == "final":
    print("%d.%d.%d %s" % (*sys.version_info[:3], getattr(sys, "_base_executable", sys.executable)))
'

candidates() {
    for minor in $minors ""; do
        (
            IFS=:
            for folder in $PATH; do
                echo "$folder/python3${minor:+.$minor}"
            done
        )
    done
    if command -v pyenv >/dev/null; then
        for minor in $minors; do
            ls -d "$(pyenv root)"/versions/*/bin/python3."$minor" 2>/dev/null || true
        done
    fi
}

found=""
while read -r python; do
    [ -x "$python" ] || continue
    line=$("$python" -c "$probe" </dev/null 2>/dev/null) || continue
    [ -z "$line" ] || found="$found$line
"
done <<LIST
$(candidates)
LIST

if [ -z "$found" ]; then
    echo "no Python 3.11 or later that can make virtual environments was found on PATH" \
        "(Debian and Ubuntu keep that part of Python in the package python3-venv)" >&2
    exit 1
fi
printf '%s' "$found" | sort -u -t. -k2,2n -k3,3n | awk '
    { split($1, version, "."); minor = version[2] }
    NR == 1 { first = minor }
    minor == last { if (minor != first) line = $0; next }
    NR > 1 { print line }
    { line = $0; last = minor }
    END { print line }'
