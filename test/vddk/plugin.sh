#!/bin/bash
# plugin.sh prints which vddk plugin to give to nbdkit: "vddk" where one is
# installed, else the path of one that it has downloaded.
#
# Debian's releases before 13 have nbdkit without this plugin; that of
# Debian 13 (section contrib) works with their nbdkit. apt-get fetches the
# package from the mirror of the machine's own sources, checked as apt checks
# what it installs: the release's signature, its index, the package's
# SHA-256. Nothing is installed. The plugin is kept below
# $XDG_CACHE_HOME/vappvault.
set -euo pipefail

release=trixie
package=nbdkit-plugin-vddk
PATH=$PATH:/usr/sbin:/sbin

fail() {
	echo "plugin.sh: $*" >&2
	exit 1
}

command -v nbdkit >/dev/null || fail "nbdkit is missing: sudo apt-get install -y nbdkit"
if nbdkit vddk --dump-plugin >/dev/null 2>&1; then
	echo vddk
	exit 0
fi

dir=${XDG_CACHE_HOME:-$HOME/.cache}/vappvault/$package-$release
plugin=$dir/nbdkit-vddk-plugin.so
if [[ -e $plugin ]]; then
	echo "$plugin"
	exit 0
fi
for tool in apt-get dpkg dpkg-deb; do
	command -v $tool >/dev/null || fail "$tool is missing: this is no Debian. Install nbdkit's vddk plugin by the means of the system"
done
[[ $(dpkg --print-architecture) == amd64 ]] || fail "VDDK and this plugin are for amd64 alone"

# mirrors lists the addresses of Debian's own archive in the machine's
# sources, of both forms, without those of security updates.
mirrors() {
	local file
	for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
		[[ -e $file ]] && sed -nE 's/^[[:space:]]*deb[[:space:]]+(\[[^]]*\][[:space:]]+)?([^[:space:]]+).*/\2/p' "$file"
	done
	for file in /etc/apt/sources.list.d/*.sources; do
		[[ -e $file ]] && sed -nE 's/^URIs:[[:space:]]*//p' "$file" | tr -s ' \t' '\n'
	done
	true
}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
[[ -e $keyring ]] || fail "$keyring is missing: this is no Debian"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/state/lists/partial "$work"/cache/archives/partial "$work/parts"
apt=(apt-get -q -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts="$work/parts"
	-o Dir::State="$work/state" -o Dir::Cache="$work/cache" -o APT::Sandbox::User= -o Acquire::Languages=none
	-o Acquire::Retries=3 -o APT::Update::Error-Mode=any)

# fetch gets the package from one address. Whether it is Debian's archive
# shows by its signature.
fetch() {
	echo "deb [signed-by=$keyring] $1 $release contrib" >"$work/sources.list"
	(cd "$work" && "${apt[@]}" update && "${apt[@]}" download $package && dpkg-deb -x ./$package*.deb x) >&2
}
while read -r mirror; do
	echo "Downloading $package of Debian $release" >&2
	if fetch "$mirror"; then
		break
	fi
done < <(mirrors | grep -v security | sort -u -r)
found=$(find "$work" -name nbdkit-vddk-plugin.so)
[[ -n $found ]] || fail "no mirror in the machine's apt sources has $package of Debian $release"
mkdir -p "$dir"
# Beside the final name first: half a file must not look like a whole one.
cp "$found" "$plugin.$$"
mv "$plugin.$$" "$plugin"
echo "$plugin"
