#!/usr/bin/env bash
# Prepares this checkout for `make run` (setup.sh run) or for `make test` (setup.sh dev).
#
#   1. a Python 3.11 or 3.12        used, never changed: what is installed goes into .venv
#   2. .venv                        made if missing
#   3. the locked packages          installed if the lock has changed since; nothing else is
#   4. the servers, as root         prosody, redis-server (for tests chromium, profanity, tmux, npm too), by apt
#
# PYTHON=/path/to/python chooses the Python of step 1. Runs again in a moment when all is there.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 1
}

case "${1:-}" in
    run) lock=requirements.lock commands=(prosody redis-server) ;;
    dev) lock=requirements-dev.lock commands=(prosody redis-server chromium profanity tmux npm) ;;
    *) die "say 'scripts/setup.sh run' or 'scripts/setup.sh dev'" ;;
esac

is_root() { [ "$(id -u)" = 0 ]; }
has_apt() { command -v apt-get >/dev/null; }

apt_install() { # PACKAGE...: quietly, and starting none of the services that come with them
    local blocker=/usr/sbin/policy-rc.d log made='' ok=0
    log=$(mktemp)
    say "installing $* by apt-get"
    if [ ! -e "$blocker" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$blocker" && chmod 755 "$blocker" && made=yes
    fi
    {
        [ -n "${apt_updated:-}" ] || apt-get -qq update
        apt_updated=yes
        DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@"
    } </dev/null >"$log" 2>&1 || ok=$?
    [ -z "$made" ] || rm -f "$blocker"
    [ "$ok" = 0 ] || tail -n 5 "$log" >&2
    rm -f "$log"
    return "$ok"
}

# 1. a Python ------------------------------------------------------------------------------------
fits() { "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; }

find_python() {
    local python
    for python in ${PYTHON:-} python3.11 python3.12 python3; do
        if command -v "$python" >/dev/null && fits "$python"; then
            command -v "$python"
            return
        fi
    done
    return 1
}

# 2. .venv ---------------------------------------------------------------------------------------
if ! { [ -x .venv/bin/python ] && fits .venv/bin/python && .venv/bin/python -m pip --version; } \
    >/dev/null 2>&1; then
    if ! python=$(find_python); then
        if is_root && has_apt && apt_install python3 && python=$(find_python); then
            :
        else
            die "no Python 3.11 or 3.12 found: install one, or name it by PYTHON=/path/to/python"
        fi
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
        if ! { is_root && has_apt && apt_install "python$version-venv"; }; then
            die "$python can't make virtual environments: as root, apt-get install python$version-venv"
        fi
    fi
    say "making .venv with $("$python" -V) ($python)"
    rm -rf .venv
    "$python" -m venv .venv
fi

# 3. the locked packages -------------------------------------------------------------------------
want=$(cat "$lock" pyproject.toml | sha256sum | cut -d' ' -f1)
# What `dev` installs holds all that `run` needs, so a checkout for tests runs the demo too.
dev_want=$(cat requirements-dev.lock pyproject.toml | sha256sum | cut -d' ' -f1)
have=$(cat .venv/ringback-installed 2>/dev/null || true)
if [ "$have" != "$want" ] && [ "$have" != "$dev_want" ]; then
    count=$(grep -c '==' "$lock")
    say "installing $count locked packages into .venv (some minutes on a slow line)"
    rm -f .venv/ringback-installed
    pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet --no-deps)
    # http-ece has no wheel: it is built here, by the locked setuptools, from its locked source.
    builder=$(mktemp)
    awk '/^[^ #]/ { wanted = /^(setuptools|wheel)==/ } wanted' "$lock" >"$builder"
    "${pip[@]}" --require-hashes --only-binary :all: --requirement "$builder"
    rm -f "$builder"
    "${pip[@]}" --require-hashes --only-binary :all: --no-binary http-ece --no-build-isolation \
        --requirement "$lock"
    PYTHONWARNINGS=ignore "${pip[@]}" --no-build-isolation --editable .
    .venv/bin/python -m pip check >&2 || die "$lock is not whole for $(.venv/bin/python -V): make lock"
    printf '%s\n' "$want" >.venv/ringback-installed
fi

# 4. the servers ---------------------------------------------------------------------------------
missing=()
for command in "${commands[@]}"; do
    command -v "$command" >/dev/null || missing+=("$command")
done
if [ "${#missing[@]}" -gt 0 ]; then
    if is_root && has_apt; then
        apt_install "${missing[@]}" || say "could not install ${missing[*]}: going on without"
    else
        say "going on without ${missing[*]}: as root, apt-get install ${missing[*]} adds them"
    fi
fi

# 5. for tests, a chat client and a push service -------------------------------------------------
for client in tests/converse tests/push tests/audit/others; do
    [ "$1" = dev ] || break
    [ ! "$client/node_modules/.package-lock.json" -nt "$client/package-lock.json" ] || continue
    if command -v npm >/dev/null; then
        say "installing the locked packages of $client by npm"
        npm ci --prefix "$client" --ignore-scripts --no-audit --no-fund --loglevel=error >&2 ||
            say "could not install $client: going on without"
    else
        say "going on without $client: npm installs it"
    fi
done

# 6. for tests, another verifier of our logs, whose packages are not ours --------------------------
others=tests/audit/others
if [ "$1" = dev ] && [ ! "$others/.venv/installed" -nt "$others/requirements.txt" ]; then
    say "installing the locked packages of $others into a .venv of its own"
    rm -rf "$others/.venv"
    if .venv/bin/python -m venv "$others/.venv" &&
        "$others/.venv/bin/python" -m pip --disable-pip-version-check install --quiet \
            --require-hashes --only-binary :all: --requirement "$others/requirements.txt"; then
        touch "$others/.venv/installed"
    else
        say "could not install $others: going on without"
    fi
fi
