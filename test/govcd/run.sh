#!/usr/bin/env bash
# run.sh runs go-vcloud-director's own functional tests, unmodified, against
# simulated clouds.
#
#	test/govcd/run.sh [-k] [-v] [-j N] [-l DIR] [REGEXP | @FILE]
#
# REGEXP picks tests by name (default: the sample in sample.txt); @FILE reads
# names, one a line, what follows them is a comment. -j N deals the tests out to
# so many clouds that run side by side: they spend most of their time asleep
# between two looks at a task. -k keeps the clouds' folders and the client's logs
# of requests and answers, and says where. -v shows what the tests print. -l DIR
# puts the results and the logs there; those of the second cloud, and so on, are
# in DIR/2, ….
#
# Exits with 0 when every test that ran passed or was skipped by itself.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD

keep='' verbose='' logs='' jobs=1
while getopts kvj:l: flag; do
	case $flag in
	k) keep=1 ;;
	v) verbose=1 ;;
	j) jobs=$OPTARG ;;
	l) logs=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
wanted=${1:-@sample.txt}

# The module as it was published, copied because its tests want to write
# beside themselves, and built once for each release and Go.
module=github.com/vmware/go-vcloud-director/v3
version=$(cd ../conformance && go list -m -f '{{.Version}}' $module)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/vappvault-test/govcd-$version-$(go env GOVERSION)
if [[ ! -x $cache/govcd.test ]]; then
	source=$(cd ../conformance && go mod download -json $module@"$version" | sed -n 's/^\t"Dir": "\(.*\)",$/\1/p')
	rm -rf "$cache.new"
	mkdir -p "$(dirname "$cache")"
	cp -r "$source" "$cache.new"
	chmod -R u+w "$cache.new"
	(cd "$cache.new" && go test -c -trimpath -tags ALL -o govcd.test ./govcd) >&2
	rm -rf "$cache"
	mv "$cache.new" "$cache"
fi

work=$(mktemp -d)
if [[ -n $logs ]]; then
	mkdir -p "$logs"
	logs=$(cd "$logs" && pwd)
else
	logs=$work/logs
fi
cleanup() {
	# All that is still running is ours: tests and clouds.
	pkill -P $$ 2>/dev/null || true
	wait 2>/dev/null || true
	if [[ -n $keep ]]; then
		echo "kept: $work" >&2
	else
		rm -rf "$work"
	fi
}
trap cleanup EXIT
trap 'exit 130' INT TERM

(cd ../.. && go build -o "$work/" ./cmd/vcdsim ./test/govcd/web)
"$work/web" "$cache/test-resources" >"$work/web.url" &

if [[ $wanted == @* ]]; then
	sed 's/[[:space:]].*//; s/#.*//; /^$/d' "${wanted#@}" >"$work/names"
else
	# The suite lists its tests only when it has a cloud's configuration.
	sed "s|@URL@|https://127.0.0.1:1/api|; s|@LOG@|$work/none.log|" config.yaml >"$work/config.yaml"
	(cd "$cache/govcd" && GOVCD_CONFIG=$work/config.yaml ../govcd.test -test.run '^Test$' -check.list) |
		sed -n 's/^TestVCD\.//p' | grep -E -- "$wanted" >"$work/names" || { echo "no test is named like that: $wanted" >&2; exit 2; }
fi

# run N runs its share of the tests on a cloud of its own.
run() {
	local n=$1 dir=$work/$1 out=$logs status=0 url
	[[ $n == 1 ]] || out=$logs/$n
	mkdir -p "$dir/run" "$out"
	local record=()
	if [[ -n ${VAPPVAULT_VCD_API:-} ]]; then
		record=(--record "$dir/documents")
	fi
	"$work/vcdsim" serve --dir "$dir/cloud" --inventory "$here/inventory.yaml" "${record[@]}" >"$dir/ready" 2>"$out/vcdsim.log" &
	cloud=$!
	trap 'kill $cloud 2>/dev/null || true; wait' EXIT
	for _ in $(seq 600); do
		grep -q '^ready' "$dir/ready" && break
		if ! kill -0 $cloud 2>/dev/null; then
			cat "$out/vcdsim.log" >&2
			return 1
		fi
		sleep 0.1
	done
	url=$(sed -n 's/^ready.* lab=\([^ ]*\).*/\1/p' "$dir/ready")
	sed "s|@URL@|$url/api|; s|@LOG@|$out/requests.log|; s|@WEB@|$(<"$work/web.url")|" "$here/config.yaml" >"$dir/config.yaml"
	# The tests leave notes on what to clean up beside themselves.
	cp -rs "$cache/test-resources" "$dir/run/test-resources"
	cp -rs "$cache/govcd" "$dir/run/govcd"
	# One test uploads its own source, by the name that -trimpath has left it.
	mkdir -p "$dir/run/govcd/${module%/v3}"
	ln -s "$cache" "$dir/run/govcd/$module"
	cd "$dir/run/govcd"
	local share
	share=$(awk -v n="$n" '$1 == n { print $2 }' "$work/shares" | paste -sd'|')
	GOVCD_CONFIG=$dir/config.yaml "$cache/govcd.test" -test.run '^Test$' -check.f "^TestVCD\\.($share)\$" -check.vv -test.timeout 180m \
		>"$out/output.txt" 2>&1 || status=$?
	kill $cloud 2>/dev/null || true
	wait $cloud 2>/dev/null || true # what it recorded is complete now
	return $status
}

# Tests of one file share a vApp and lean on what those before them left: they
# stay together, and the largest files are dealt out first, each to the cloud
# that has the fewest tests.
grep -oE '^func \(vcd \*TestVCD\) Test[A-Za-z0-9_]+' "$cache"/govcd/*_test.go | sed 's/:func .* / /; s|.*/||' >"$work/files"
awk 'NR == FNR { file[$2] = $1; next } { print ($1 in file ? file[$1] : "none"), $1 }' "$work/files" "$work/names" >"$work/named"
count=$(cut -d' ' -f1 "$work/named" | sort -u | wc -l)
((jobs <= count)) || jobs=$count
cut -d' ' -f1 "$work/named" | sort | uniq -c | sort -k1,1nr -k2 |
	awk -v jobs="$jobs" '{ best = 1; for (i = 2; i <= jobs; i++) if (load[i] + 0 < load[best] + 0) best = i; load[best] += $1; print best, $2 }' >"$work/dealt"
awk 'NR == FNR { cloud[$2] = $1; next } { print cloud[$1], $2 }' "$work/dealt" "$work/named" >"$work/shares"
running=()
for n in $(seq "$jobs"); do
	(run "$n") &
	running+=($!)
done
status=0
for pid in "${running[@]}"; do
	wait "$pid" || status=1
done

outputs=("$logs/output.txt")
for n in $(seq 2 "$jobs"); do
	outputs+=("$logs/$n/output.txt")
done
if [[ -n $verbose ]]; then
	cat "${outputs[@]}"
fi
# "PASS: FILE:LINE: TestVCD.NAME	SECONDS", or a reason in parentheses instead.
cat "${outputs[@]}" | sed -nE 's/^(PASS|FAIL|SKIP|PANIC|MISS): [^ ]*: TestVCD\.([A-Za-z0-9_]+)(\t[0-9.]+s)?(.*)/\1 \2\4/p' |
	grep -vE ' (SetUp|TearDown)(Suite|Test)$' | sort -u >"$logs/results.txt" || true
cat "$logs/results.txt"
# A test that is not there, or that died with its cloud, is no success.
missing=$(grep -vxFf <(cut -d' ' -f2 "$logs/results.txt") "$work/names" || true)
if [[ -n $missing ]]; then
	status=1
	for out in "${outputs[@]}"; do tail -n 15 "$out"; done
	printf 'did not run: %s\n' $missing
fi
if [[ -n ${VAPPVAULT_VCD_API:-} ]]; then
	# Whatever was asked for: what was answered must be valid.
	mkdir -p "$work/documents"
	for n in $(seq "$jobs"); do
		if [[ -d $work/$n/documents ]]; then
			ln -f "$work/$n/documents"/* "$work/documents/" # equal shapes have equal names
		fi
	done
	(cd "$here/../.." && go run ./test/validate "$work/documents") >"$logs/validation.txt" 2>&1 || {
		status=1
		head -c 4000 "$logs/validation.txt"
	}
fi
exit $status
