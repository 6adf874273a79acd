#!/usr/bin/env bash
# Runs every test. Sets up by itself what the tests need: a throw-away PostgreSQL (unless TEST_DATABASE_URL names
# one), the program redis-server (each test starts its own) and the vendors' Python SDKs. Nothing is skipped: what can't be set up ends the run with what to do.
# Usage: tests/run.sh [arguments of cargo test]
# SCHEMATHESIS_EXAMPLES=200 tests/run.sh --test it -- schemathesis   looks longer for answers that break /openapi.json.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }
fail() {
    printf '\ntests/run.sh: %s\n' "$*" >&2
    exit 1
}

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"; else sudo "$@"; fi
}

updated=
# apt_install PACKAGE…: installs Debian packages, or says which ones are missing.
apt_install() {
    command -v apt-get >/dev/null || fail "please install: $* (this machine has no apt-get)"
    [ "$(id -u)" = 0 ] || command -v sudo >/dev/null || fail "please install as root: apt-get install $*"
    say "installing $*"
    if [ -z "$updated" ]; then as_root apt-get update -qq && updated=yes; fi
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null ||
        fail "apt-get could not install $*; install it by hand and run this again"
}

# --- PostgreSQL -----------------------------------------------------------------------------------------------
cluster=

find_postgres() {
    local folder
    folder=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -n 1 || true)
    if [ -n "$folder" ] && [ -x "$folder/initdb" ]; then
        echo "$folder"
    elif command -v initdb >/dev/null && command -v postgres >/dev/null; then
        dirname "$(readlink -f "$(command -v initdb)")"
    fi
}

# PostgreSQL refuses to run as root: its programs run as another user then.
as_owner() {
    if [ "$(id -u)" = 0 ]; then runuser -u "$owner" -- "$@"; else "$@"; fi
}

stop_postgres() {
    [ -n "$cluster" ] || return 0
    as_owner "$postgres/pg_ctl" -D "$cluster/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$cluster"
}

start_postgres() {
    postgres=$(find_postgres)
    if [ -z "$postgres" ]; then
        apt_install postgresql
        postgres=$(find_postgres)
        [ -n "$postgres" ] || fail "PostgreSQL was installed but initdb is not in /usr/lib/postgresql/*/bin"
    fi
    owner=$(id -un)
    if [ "$(id -u)" = 0 ]; then
        owner=nobody
        if id postgres >/dev/null 2>&1; then owner=postgres; fi
    fi
    cluster=$(mktemp -d "${TMPDIR:-/tmp}/livetranslate-postgres.XXXXXX")
    trap stop_postgres EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    if [ "$(id -u)" = 0 ]; then chown "$owner" "$cluster"; fi
    say "starting a throw-away PostgreSQL ($("$postgres/postgres" --version)) in $cluster"
    (cd / && as_owner "$postgres/initdb" -D "$cluster/data" -U postgres -A trust -E UTF8 --no-sync >"$cluster.log" 2>&1) ||
        fail "initdb failed: $(tail -n 5 "$cluster.log")"
    rm -f "$cluster.log"
    local attempt port
    for attempt in 1 2 3 4 5; do
        # A port that another program takes first is tried again.
        port=$((20000 + (RANDOM % 12000)))
        if (cd / && as_owner "$postgres/pg_ctl" -D "$cluster/data" -w -t 60 -l "$cluster/data/log" -o "\
            -c listen_addresses=127.0.0.1 -c port=$port -c unix_socket_directories=$cluster -c max_connections=200 \
            -c fsync=off -c synchronous_commit=off -c full_page_writes=off" start >/dev/null 2>&1); then
            export TEST_DATABASE_URL="postgres://postgres@127.0.0.1:$port/postgres"
            return
        fi
    done
    fail "PostgreSQL did not start: $(tail -n 5 "$cluster/data/log" 2>/dev/null)"
}

if [ -n "${TEST_DATABASE_URL:-}" ]; then
    say "using the PostgreSQL that TEST_DATABASE_URL names"
else
    start_postgres
fi

# --- Redis ----------------------------------------------------------------------------------------------------
install_redis() {
    # Debian's package would start a service that no test asks for: while it is installed, services are not started,
    # unless this machine has a rule of its own for that.
    local rule=/usr/sbin/policy-rc.d
    if command -v apt-get >/dev/null && [ ! -e "$rule" ] && { [ "$(id -u)" = 0 ] || command -v sudo >/dev/null; }; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$rule" >/dev/null
        as_root chmod 755 "$rule"
        # In a subshell, whose end is seen even if apt_install ends the run.
        (apt_install redis-server) || { as_root rm -f "$rule"; exit 1; }
        as_root rm -f "$rule"
    else
        apt_install redis-server
    fi
    command -v redis-server >/dev/null || fail "redis-server was installed but is not in PATH"
}
command -v redis-server >/dev/null || install_redis

# --- the vendors' SDKs ----------------------------------------------------------------------------------------
python=target/python/bin/python
wanted=tests/python/requirements.txt
# Written last, so that an interrupted set-up is done again.
stamp=target/python/installed.txt
if [ ! -x "$python" ] || ! cmp -s "$wanted" "$stamp"; then
    say "installing the vendors' Python SDKs and Schemathesis into target/python"
    command -v python3 >/dev/null || apt_install python3 python3-venv
    rm -rf target/python
    mkdir -p target
    if ! python3 -m venv target/python >/dev/null 2>&1; then
        rm -rf target/python
        apt_install python3-venv
        python3 -m venv target/python || fail "python3 -m venv failed; install python3-venv"
    fi
    "$python" -m pip install --quiet --disable-pip-version-check -r "$wanted" ||
        fail "pip could not install $wanted; it needs a package index that can be reached"
    cp "$wanted" "$stamp"
fi
TEST_PYTHON=$(cd target/python/bin && pwd)/python
export TEST_PYTHON
"$TEST_PYTHON" -c 'import anthropic, dashscope.audio.qwen_omni, openai.resources.realtime, schemathesis' ||
    fail "the SDKs can't be imported; remove target/python and run this again"

# --- the tests ------------------------------------------------------------------------------------------------
command -v cargo >/dev/null || fail "cargo is missing; install Rust from https://rustup.rs"
command -v cc >/dev/null || apt_install gcc libc6-dev
say "cargo test"
# Tests that open many sockets need more than the usual 1,024 descriptors.
ulimit -n "$(ulimit -Hn)" 2>/dev/null || true
cargo test --no-fail-fast "$@"
