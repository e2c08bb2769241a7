#!/usr/bin/env bash
# run.sh runs go-vcloud-director's own functional tests, unmodified, against a
# simulated cloud.
#
#	test/govcd/run.sh [-k] [-v] [-l DIR] [REGEXP | @FILE]
#
# REGEXP picks tests by name (default: the sample in sample.txt); @FILE reads
# names, one a line, what follows them is a comment. -k keeps the cloud's
# folder and the client's log of requests and answers, and says where. -v shows
# what the tests print. -l DIR puts the results and the log there.
#
# Exits with 0 when every test that ran passed or was skipped by itself.
set -euo pipefail
cd "$(dirname "$0")"
here=$PWD

keep='' verbose='' logs=''
while getopts kvl: flag; do
	case $flag in
	k) keep=1 ;;
	v) verbose=1 ;;
	l) logs=$OPTARG ;;
	*) exit 2 ;;
	esac
done
shift $((OPTIND - 1))
wanted=${1:-@sample.txt}

names() { sed 's/[[:space:]].*//; s/#.*//; /^$/d' "$1"; }
if [[ $wanted == @* ]]; then
	wanted="^TestVCD\\.($(names "${wanted#@}" | paste -sd'|'))\$"
fi

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
	logs=$work
fi
cleanup() {
	local p
	for p in ${cloud:-} ${web:-}; do
		kill "$p" 2>/dev/null || true
		wait "$p" 2>/dev/null || true
	done
	if [[ -n $keep ]]; then
		echo "kept: $work" >&2
	else
		rm -rf "$work"
	fi
}
trap cleanup EXIT

(cd ../.. && go build -o "$work/" ./cmd/vcdsim ./test/govcd/web)
"$work/web" "$cache/test-resources" >"$work/web.url" &
web=$!
record=()
if [[ -n ${VAPPVAULT_VCD_API:-} ]]; then
	record=(--record "$work/documents")
fi
"$work/vcdsim" serve --dir "$work/cloud" --inventory inventory.yaml "${record[@]}" >"$work/ready" 2>"$work/vcdsim.log" &
cloud=$!
for _ in $(seq 300); do
	grep -q '^ready' "$work/ready" && break
	if ! kill -0 $cloud 2>/dev/null; then
		cat "$work/vcdsim.log" >&2
		exit 1
	fi
	sleep 0.1
done
url=$(sed -n 's/^ready.* lab=\([^ ]*\).*/\1/p' "$work/ready")
sed "s|@URL@|$url/api|; s|@LOG@|$logs/requests.log|; s|@WEB@|$(<"$work/web.url")|" config.yaml >"$work/config.yaml"

# The tests leave notes on what to clean up beside themselves: each run has its own folder.
mkdir -p "$work/run"
cp -rs "$cache/test-resources" "$work/run/test-resources"
cp -rs "$cache/govcd" "$work/run/govcd"
# One test uploads its own source, by the name that -trimpath has left it.
mkdir -p "$work/run/govcd/${module%/v3}"
ln -s "$cache" "$work/run/govcd/$module"
cd "$work/run/govcd"
status=0
GOVCD_CONFIG=$work/config.yaml "$cache/govcd.test" -test.run '^Test$' -check.f "$wanted" -check.vv -test.timeout 60m \
	>"$logs/output.txt" 2>&1 || status=$?
if [[ -n $verbose ]]; then
	cat "$logs/output.txt"
fi
# "PASS: FILE:LINE: TestVCD.NAME	SECONDS", or a reason in parentheses instead.
sed -nE 's/^(PASS|FAIL|SKIP|PANIC|MISS): [^ ]*: TestVCD\.([A-Za-z0-9_]+)(\t[0-9.]+s)?(.*)/\1 \2\4/p' "$logs/output.txt" |
	grep -vE ' (SetUp|TearDown)(Suite|Test)$' | sort -u >"$logs/results.txt" || true
cat "$logs/results.txt"
if ! grep -qE '^(PASS|SKIP) ' "$logs/results.txt"; then
	tail -30 "$logs/output.txt"
	exit 1
fi
if [[ -n ${VAPPVAULT_VCD_API:-} ]]; then
	# Whatever was asked for: what was answered must be valid.
	(cd "$here/../.." && go run ./test/validate "$work/documents") >"$logs/validation.txt" 2>&1 || {
		status=1
		head -c 4000 "$logs/validation.txt"
	}
fi
exit $status
