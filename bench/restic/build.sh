#!/bin/sh
# build.sh builds restic once and prints the binary's path, as
# test/kopia/build.sh does with kopia.
set -eu

cd "$(dirname "$0")"
version=$(go list -m -f '{{.Version}}' github.com/restic/restic)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/vappvault-test
binary=$dir/restic-$version-$(go env GOOS)-$(go env GOARCH)

if [ ! -x "$binary" ]; then
	mkdir -p "$dir"
	part=$binary.$$
	trap 'rm -f "$part"' EXIT
	go build -trimpath -o "$part" github.com/restic/restic/cmd/restic >&2
	mv "$part" "$binary"
fi
echo "$binary"
