#!/bin/sh
# Installs RivetKit's clients, each version that tests/gateway runs, and Connect's, into
# build/gateway.
#
# build/gateway/VERSION/node_modules is what tests/gateway/node/clients/VERSION locks.
# build/gateway/node is a link to the Node to run them with; where it cannot be had, or a
# version cannot be installed, build/gateway/missing says why. That does not fail this
# script: the tests say what it means. What is there from the same files is left as it is.
set -eu
cd "$(dirname "$0")/.."

ROOT=$PWD
OUT=$ROOT/build/gateway
CLIENTS=$ROOT/tests/gateway/node/clients
NODE_MAJOR_MIN=20
. tools/find_node.sh

mkdir -p "$OUT"

# missing REASON...
missing() {
    printf '%s\n' "$*" >"$OUT/missing"
    echo "gateway: $*" >&2
    exit 0
}

# install VERSION
install() {
    stamp="$ROOT $NODE $(cat "$CLIENTS/$1"/* "$ROOT"/tools/setup_gateway.sh "$ROOT"/tools/find_node.sh | cksum)"
    if [ "$(cat "$OUT/$1/stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    rm -rf "${OUT:?}/$1"
    mkdir -p "$OUT/$1"
    cp "$CLIENTS/$1"/package*.json "$OUT/$1"
    # Without what is optional: engines and databases, which no client needs.
    if ! (cd "$OUT/$1" && $NPM ci --ignore-scripts --omit=optional --omit=peer \
        --no-audit --no-fund >"$OUT/$1.log" 2>&1); then
        missing "npm ci of client $1 failed, see build/gateway/$1.log"
    fi
    printf '%s\n' "$stamp" >"$OUT/$1/stamp"
}

if ! find_node "$OUT/node.log"; then
    missing "node $NODE_MAJOR_MIN or newer and npm are not installed," \
        "nor could $NODE_PACKAGE be, see build/gateway/node.log"
fi
for directory in "$CLIENTS"/*/; do
    install "$(basename "$directory")"
done
ln -sf "$NODE" "$OUT/node"
rm -f "$OUT/missing"
