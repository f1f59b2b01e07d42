#!/bin/sh
# Writes requirements-dev.txt: what an environment of `make setup` holds, for every supported Python
# and every platform, with the digests of all files that the index has of each version.
#
# 1. The index is that of UV_DEFAULT_INDEX, or the public one; the file names none.
# 2. uv, which resolves for all platforms at once, comes from an environment of its own.
set -eu

cd "$(dirname "$0")/.."
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
python=$(scripts/find_python.sh | head -n 1)
"${python#* }" -m venv "$tools"
"$tools/bin/python" -m pip install --quiet --upgrade pip
"$tools/bin/python" -m pip install --quiet --only-binary :all: --group lock
"$tools/bin/uv" pip compile --no-config --quiet --universal --python-version 3.11 \
    --generate-hashes --no-annotate --all-extras --group dev --custom-compile-command "make lock" \
    --output-file requirements-dev.txt pyproject.toml
