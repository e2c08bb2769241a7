#!/bin/sh
# build.sh builds the stock kopia command once and prints the binary's path.
#
# The version is the one that go.mod beside this file pins. The binary is
# kept under $XDG_CACHE_HOME/vappvault-test, because a build takes minutes.
set -eu

cd "$(dirname "$0")"
version=$(go list -m -f '{{.Version}}' github.com/kopia/kopia)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/vappvault-test
binary=$dir/kopia-$version-$(go env GOOS)-$(go env GOARCH)

if [ ! -x "$binary" ]; then
	mkdir -p "$dir"
	# Build beside the final name: a build that was interrupted must not
	# look like a finished one.
	part=$binary.$$
	trap 'rm -f "$part"' EXIT
	go build -trimpath -o "$part" github.com/kopia/kopia >&2
	mv "$part" "$binary"
fi
echo "$binary"
