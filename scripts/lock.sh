#!/usr/bin/env bash
# Writes requirements.lock (what `make run` installs) and requirements-dev.lock (what `make test`
# and `make check` install) from pyproject.toml: exact versions, with the hash of every file.
# What is locked already stays as it is where it still fits; UPGRADE=1 takes the newest that fits.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3.11}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet "pip-tools>=7.6,<8"

# No address of an index goes into a lock file: each machine has its own.
options=(
    --quiet --strip-extras --generate-hashes --allow-unsafe --no-header --no-annotate
    --no-emit-index-url --no-emit-trusted-host --no-emit-find-links --no-emit-options
    --build-deps-for editable
)
[ -z "${UPGRADE:-}" ] || options+=(--upgrade)
[ -z "${CONSTRAINT:-}" ] || options+=(--constraint "$CONSTRAINT")

lock() { # FILE OPTION...
    local out=$1
    shift
    "$work/venv/bin/pip-compile" "${options[@]}" "$@" --output-file "$out" pyproject.toml
    sed -i '1i # Written by `make lock`; change pyproject.toml instead.' "$out"
}
lock requirements.lock
lock requirements-dev.lock --extra replay --extra timestamp --extra dev --constraint requirements.lock
