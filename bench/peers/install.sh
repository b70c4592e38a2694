#!/bin/sh
# Installs the peers that `make bench-peers` measures, each as its lock file says, into build/peers.
#
# build/peers/NAME is what bench/peers/NAME locks, with its own files beside it; build/peers/node is a
# link to the Node that runs them all. What cannot be installed is told in build/peers/NAME.missing, and
# does not fail this script: it is a row of the table. What is there from the same files is left as it is.
set -eu
cd "$(dirname "$0")/../.."

ROOT=$PWD
OUT=$ROOT/build/peers
PEERS=$ROOT/bench/peers
NODE_MAJOR_MIN=22
. tools/find_node.sh

mkdir -p "$OUT"

# missing NAME REASON...
missing() {
    name=$1
    shift
    printf '%s\n' "$*" >"$OUT/$name.missing"
    echo "peers: $name: $*" >&2
}

# npm_locked NAME
# Not `npm ci`, which refuses a lock without the optional packages of other platforms, where the
# registry does not have them all.
npm_locked() {
    cp "$PEERS/$1"/package*.json "$OUT/$1" &&
        (cd "$OUT/$1" && $NPM install --ignore-scripts --no-audit --no-fund)
}

# pip_sync NAME
pip_sync() {
    uv venv --quiet --python "$ROOT/.venv/bin/python" "$OUT/$1/.venv" &&
        uv pip install --quiet --python "$OUT/$1/.venv/bin/python" --require-hashes \
            -r "$PEERS/$1/requirements.txt"
}

# install NAME HOW
install() {
    stamp="$ROOT $NODE $(cat "$PEERS/$1"/*.* "$PEERS/install.sh" | cksum)"
    if [ "$(cat "$OUT/$1/stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    rm -rf "${OUT:?}/$1" "$OUT/$1.missing"
    mkdir -p "$OUT/$1"
    if ! "$2" "$1" >"$OUT/$1.log" 2>&1; then
        missing "$1" "cannot be installed here, see build/peers/$1.log"
        return
    fi
    for file in "$PEERS/$1"/*.mjs "$PEERS/$1"/*.js; do
        [ -e "$file" ] && cp "$file" "$OUT/$1"
    done
    printf '%s\n' "$stamp" >"$OUT/$1/stamp"
}

if find_node "$OUT/node.log"; then
    ln -sf "$NODE" "$OUT/node"
    for name in rivetkit rivet_engine restate workerd; do
        install "$name" npm_locked
    done
else
    for name in rivetkit rivet_engine restate workerd; do
        missing "$name" "node $NODE_MAJOR_MIN or newer and npm cannot be had, see build/peers/node.log"
    done
fi
install ray pip_sync
