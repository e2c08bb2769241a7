#!/usr/bin/env bash
# The main job, end to end, on a simulated cloud: two backups of a vApp, its
# deletion, its restore, and the proof that every byte and every setting is
# back. Everything happens in a folder of its own, which is removed
# afterwards; --keep leaves it.
#
# Exits with 0 only if all is as it was.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
PATH=$root/bin:$PATH:/usr/sbin:/sbin
vapp=acme/acme-vdc1/web-shop
disks=("web01 0" "db01 0" "db01 1")

keep=
if [[ ${1:-} == --keep ]]; then keep=yes; fi
work=$(mktemp -d "${TMPDIR:-/tmp}/vappvault-demo.XXXXXX")
cloud=
finish() {
	status=$?
	if [[ -n $cloud ]]; then
		kill "$cloud" 2>/dev/null || true
		wait "$cloud" 2>/dev/null || true
	fi
	if [[ -n $keep ]]; then echo "Left in $work"; else rm -rf "$work"; fi
	exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

if [[ -t 1 ]]; then bold=$'\e[1m' plain=$'\e[0m'; else bold='' plain=''; fi
chapter() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }
# run shows a command as one would type it, and runs it.
run() {
	printf '%s$ %s%s\n' "$bold" "$*" "$plain"
	"$@"
}
fail() {
	echo "demo: $*" >&2
	exit 1
}
# sums prints the SHA-256 of every disk as its guest reads it.
sums() {
	local disk
	for disk in "${disks[@]}"; do
		# shellcheck disable=SC2086 # VM and number are two words
		printf '%s %s\n' "$disk" "$(vcdsim guest sum $disk)"
	done
}

# images makes the disks: file systems with thousands of files. Both VMs
# have the system disk of one template; the tables are one VM's own.
images() {
	local i dir
	mkdir -p tree/etc tree/usr/share/doc tree/var/lib tables/postgres
	for i in {001..030}; do
		dir=tree/usr/share/doc/package-$i
		mkdir "$dir"
		seq -f "package $i, line %.0f: what everyone ought to read" 1 14000 | split -b 8k -a 3 - "$dir/page-"
	done
	head -c 24M /dev/urandom | split -b 96k -a 4 - tree/var/lib/object-
	head -c 32M /dev/urandom > tables/postgres/orders
	seq -f "customer %.0f;paid" 1 1500000 > tables/postgres/customers.csv
	truncate -s 1G system.img tables.img
	mkfs.ext4 -q -F -d tree system.img
	mkfs.ext4 -q -F -d tables tables.img
	echo "$(find tree tables -type f | wc -l) files on $(find . -maxdepth 1 -name '*.img' | wc -l) images"
	rm -rf tree tables
}

# start runs the cloud and waits until it answers.
start() {
	run vappvault repository key repository.password
	printf '%s$ vcdsim serve --inventory inventory.yaml --config-out vappvault.yaml &%s\n' "$bold" "$plain"
	vcdsim serve --listen 127.0.0.1:0 --inventory inventory.yaml --config-out vappvault.yaml > ready 2> cloud.log &
	cloud=$!
	local i
	for i in {1..600}; do
		if grep -q '^ready' ready; then
			cat ready
			return
		fi
		kill -0 "$cloud" 2>/dev/null || { cat cloud.log >&2; cloud=; fail "the cloud did not start"; }
		sleep 0.1
	done
	fail "the cloud is not ready after a minute"
}

# sell overwrites a part of the orders in place, as a database does: where
# the file lies on the disk, the file system says.
sell() {
	local first last
	first=$(debugfs -R "bmap /postgres/orders 256" tables.img 2>/dev/null)
	last=$(debugfs -R "bmap /postgres/orders 1023" tables.img 2>/dev/null)
	[[ $((last - first)) -eq 767 ]] || fail "the table lies in pieces"
	head -c 3M /dev/urandom > new-orders
	printf '%s$ vcdsim guest write db01 1 --offset %s < new-orders%s\n' "$bold" "$((first * 4096))" "$plain"
	vcdsim guest write db01 1 --offset "$((first * 4096))" < new-orders
}

# backup backs up and keeps the id of the restore point in $point.
backup() {
	run vappvault backup "$vapp" | tee backup.out
	point=$(sed -nE 's/.*restore point ([0-9A-Z]{26}).*/\1/p' backup.out)
	[[ -n $point ]] || fail "the backup names no restore point"
	vappvault show "$point" -o json > "$1.json"
}

# total adds up a field of all disks of a restore point.
total() { jq "[.point.vms[].disks[] | .$2] | add" "$1.json"; }
mib() { awk -v n="$1" 'BEGIN { printf "%.1f MiB", n / 1048576 }'; }

chapter "Building"
make --no-print-directory -C "$root" build
cd "$work"
cp "$root/demo/inventory.yaml" .

chapter "A cloud with real file systems on its disks"
images
start

chapter "What is there"
run vappvault init
run vappvault ls

chapter "The first backup reads whatever holds data"
backup first

chapter "The guest goes on working; the second backup reads what changed"
sell
sums > before
backup second

chapter "Disaster: the vApp is deleted, and its files are overwritten and removed"
run vcdsim delete-vapp "$vapp"
run vcdsim scrub
run vappvault ls

chapter "The restore"
run vappvault restore web-shop@latest | tee restore.out

chapter "Is it all there?"
sums > after
run vappvault ls "$vapp"
while read -r vm disk; do
	image=$vm-disk$disk.img
	printf '%s$ vcdsim guest read %s %s > %s && e2fsck -fn %s%s\n' "$bold" "$vm" "$disk" "$image" "$image" "$plain"
	vcdsim guest read "$vm" "$disk" | dd of="$image" bs=1M iflag=fullblock conv=sparse status=none
	e2fsck -fn "$image" 2>/dev/null | tail -n 1 || fail "the file system of $vm, disk $disk, is damaged"
	rm -f "$image"
done < <(printf '%s\n' "${disks[@]}")
run vappvault verify

chapter "In numbers"
compared=$(sed -nE 's/^compared ([0-9]+) documents? .*/\1/p' restore.out)
unexplained=$(sed -nE 's/^compared .*: ([0-9]+) unexplained.*/\1/p' restore.out)
row='%-22s %16s %16s\n'
# shellcheck disable=SC2059 # the format is the variable
{
	printf "$row" "" "first backup" "second backup"
	printf "$row" "VMs, disks" "$(jq '.point.vms | length' first.json), $(total first 'key | 1')" \
		"$(jq '.point.vms | length' second.json), $(total second 'key | 1')"
	printf "$row" "size of the disks" "$(mib "$(total first content.size)")" "$(mib "$(total second content.size)")"
	printf "$row" "of that, data" "$(mib "$(total first content.dataBytes)")" "$(mib "$(total second content.dataBytes)")"
	printf "$row" "read" "$(mib "$(total first readBytes)")" "$(mib "$(total second readBytes)")"
	printf "$row" "  to check CBT" "$(mib "$(total first sampleBytes)")" "$(mib "$(total second sampleBytes)")"
	printf "$row" "stored" "$(mib "$(total first content.storedBytes)")" "$(mib "$(total second content.storedBytes)")"
	for i in first second; do
		awk -v data="$(total $i content.dataBytes)" -v stored="$(total $i content.storedBytes)" \
			'BEGIN { if (stored > 0) printf "1 : %.1f\n", data / stored; else print "-" }' > "$i.ratio"
	done
	printf "$row" "stored : data" "$(< first.ratio)" "$(< second.ratio)"
}
echo
printf '%-8s %-6s %-18s %s\n' VM DISK "SHA-256 BEFORE" AFTER
status=0
while read -r vm disk sum; do
	now=$(awk -v vm="$vm" -v disk="$disk" '$1 == vm && $2 == disk { print $3 }' after)
	verdict=equal
	if [[ $sum != "$now" ]]; then verdict=DIFFERENT status=1; fi
	printf '%-8s %-6s %-18s %-18s %s\n' "$vm" "$disk" "${sum:0:16}.." "${now:0:16}.." "$verdict"
done < before
echo
echo "documents compared: ${compared:-none}; differences without a reason: ${unexplained:-unknown}"
if [[ ${compared:-0} -eq 0 || ${unexplained:-1} -ne 0 ]]; then status=1; fi
if [[ $(total second readBytes) -ge $(total first readBytes) ]]; then
	echo "the second backup read as much as the first"
	status=1
fi
if [[ $status -eq 0 ]]; then
	chapter "All of it is back, in $SECONDS seconds."
else
	chapter "Something is NOT as it was."
fi
exit $status
