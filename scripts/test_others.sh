#!/bin/sh
# Runs the tests on every supported Python but the oldest: test_others.sh ARGUMENTS-OF-PYTHON…
#
# Each has an environment of its own, .venv-3.N. A Python for which a dependency has no wheel yet is
# told and left out. Ends with the worst status of all runs.
set -eu

cd "$(dirname "$0")/.."
status=0
pythons=$(scripts/find_python.sh | tail -n +2)
[ -n "$pythons" ] || echo "no Python besides the oldest was found; nothing else to test on"

while read -r python; do
    [ -n "$python" ] || continue
    minor=${python#3.}
    folder=.venv-3.${minor%%.*}
    made=0
    scripts/set_up.sh "$folder" "$python" || made=$?
    if [ "$made" = 3 ]; then
        echo "--- not tested on Python ${python%% *}"
    elif [ "$made" != 0 ]; then
        status=$made
    else
        echo "--- tests on Python ${python%% *}"
        scripts/run_tests.sh "$folder/bin/python" "$@" || status=$?
    fi
done <<LIST
$pythons
LIST
exit "$status"
