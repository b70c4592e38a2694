#!/bin/sh
# Installs what tests/browser runs, into build/browser: a Chromium to drive, the driver and
# the bundler of its pages, React with RivetKit's hooks, and the pages of the examples.
#
# build/browser/node, chromium and npm are what to run; node_modules is what
# tests/browser/node locks, and react/VERSION what tests/browser/node/react/VERSION does.
# Where something cannot be had build/browser/missing says why. That does not fail this
# script: the tests say what it means. What is there from the same files is left as it is.
set -eu
cd "$(dirname "$0")/.."

ROOT=$PWD
OUT=$ROOT/build/browser
NODE_MAJOR_MIN=20
. tools/find_node.sh

mkdir -p "$OUT"

# missing REASON...
missing() {
    printf '%s\n' "$*" >"$OUT/missing"
    echo "browser: $*" >&2
    exit 0
}

# Debian's package, since the driver's own browser is on no package registry.
find_chromium() {
    CHROMIUM=$(command -v chromium || true)
    [ -z "$CHROMIUM" ] || return 0
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || return 1
    echo "installing chromium" >&2
    {
        DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends chromium ||
            { apt-get update && DEBIAN_FRONTEND=noninteractive \
                apt-get install -y --no-install-recommends chromium; }
    } >"$OUT/chromium.log" 2>&1 || return 1
    CHROMIUM=$(command -v chromium)
}

# install LOCKED TARGET OPTION...
install() {
    name=$1 locked=$ROOT/tests/browser/node/$1 target=$2
    shift 2
    stamp="$ROOT $NODE $(cat "$locked"/package*.json "$ROOT"/tools/setup_browser.sh "$ROOT"/tools/find_node.sh | cksum)"
    if [ "$(cat "$target/stamp" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    mkdir -p "$target"
    rm -f "$target/stamp"
    cp "$locked"/package*.json "$target"
    if ! (cd "$target" && $NPM ci --ignore-scripts --no-audit --no-fund "$@" \
        >"$OUT/npm.log" 2>&1); then
        missing "npm ci of tests/browser/node/$name failed, see build/browser/npm.log"
    fi
    printf '%s\n' "$stamp" >"$target/stamp"
}

if ! find_node "$OUT/node.log"; then
    missing "node $NODE_MAJOR_MIN or newer and npm are not installed," \
        "nor could $NODE_PACKAGE be, see build/browser/node.log"
fi
if ! find_chromium; then
    missing "chromium is not installed, nor could it be by apt-get," \
        "which needs root, see build/browser/chromium.log"
fi
install . "$OUT"
for directory in tests/browser/node/react/*/; do
    version=$(basename "$directory")
    # Without what is optional: engines and databases, which no client needs.
    install "react/$version" "$OUT/react/$version" --omit=optional --omit=peer
done
ln -sf "$NODE" "$OUT/node"
ln -sf "$CHROMIUM" "$OUT/chromium"
printf '#!/bin/sh\nPATH="%s:$PATH" exec %s "$@"\n' "$(dirname "$NODE")" "$NPM" >"$OUT/npm"
chmod +x "$OUT/npm"
if ! PATH="$OUT:$PATH" .venv/bin/python -m examples.pages >"$OUT/pages.log" 2>&1; then
    missing "a page of an example could not be built, see build/browser/pages.log"
fi
rm -f "$OUT/missing"
