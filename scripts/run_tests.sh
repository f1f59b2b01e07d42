#!/bin/sh
# Runs pytest: run_tests.sh PYTHON ARGUMENT…
#
# With REPEAT_FAILED=yes, as in CI, a few tests that failed are run once more, one after the other:
# on a machine that others load too, a limit of time may be missed once. Both results are shown, and
# the status is that of the repetition. More than ten failures are no accident.
set -eu

cd "$(dirname "$0")/.."
status=0
"$@" </dev/null || status=$?
failed=.pytest_cache/v/cache/lastfailed
[ "$status" = 1 ] && [ "${REPEAT_FAILED-}" = yes ] || exit "$status"
[ "$(grep -c '": true' "$failed")" -le 10 ] || exit "$status"
echo "--- once more, one after the other: what failed"
"$@" -n 0 --last-failed --last-failed-no-failures none </dev/null
