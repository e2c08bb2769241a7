#!/bin/bash
# build.sh builds the stub of VMware's libvixDiskLib once and prints its
# folder, which is what nbdkit's vddk plugin takes as libdir.
#
# Folders are kept below $XDG_CACHE_HOME/vappvault, named after the content of
# the sources and the compiler, so that a change of either builds anew.
set -euo pipefail

cd "$(dirname "$0")/lib"
compiler=${CC:-gcc}
command -v "$compiler" >/dev/null || { echo "build.sh: $compiler is missing: sudo apt-get install -y gcc" >&2; exit 1; }
flags=(-std=gnu11 -O2 -g -Wall -Wextra -Werror -fPIC -fvisibility=hidden -pthread -shared -Wl,-soname,libvixDiskLib.so.8)
sum=$({ cat ./*.c ./*.h; "$compiler" --version; echo "${flags[@]}"; } | sha256sum | cut -c 1-16)
dir=${XDG_CACHE_HOME:-$HOME/.cache}/vappvault/vddk-stub-$sum
library=$dir/lib64/libvixDiskLib.so.8

if [[ ! -e $library ]]; then
	mkdir -p "$dir/lib64"
	# Beside the final name first: half a file must not look like a whole one.
	part=$library.$$
	trap 'rm -f "$part"' EXIT
	"$compiler" "${flags[@]}" -o "$part" ./*.c
	mv "$part" "$library"
fi
echo "$dir"
