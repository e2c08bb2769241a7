# make help lists what there is.

GO      ?= go
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS := -s -w -X github.com/vappvault/vappvault/internal/cli.version=$(VERSION) \
	-X github.com/vappvault/vappvault/internal/sim/cloud/cli.release=$(VERSION)
BENCH   ?= .
BENCHARGS ?=
FUZZ    ?= .
empty   :=
space   := $(empty) $(empty)
# Runs of each fuzz test. A number rather than a time: at the end of a time
# `go test` can take its own deadline for a failure.
FUZZRUNS ?= 50000

# The race detector looks at everything but hashes, ciphers and compressors,
# which would take ten times as long under it and are not ours.
UNRACED := crypto/internal/fips140/... crypto/hmac crypto/pbkdf2 crypto/sha256 golang.org/x/crypto/... \
	github.com/zeebo/blake3/... github.com/klauspost/compress/...
RACE := -race $(foreach p,$(UNRACED),-gcflags=$(p)=-race=false)
# More arguments for these runs; beside others they go package by package.
RACES ?=
# Programs under it sleep for a second as they exit unless told otherwise.
test-race: export GORACE ?= atexit_sleep_ms=50

# The stock kopia command, built when it is first needed: that takes minutes.
WITH_KOPIA := KOPIA_BIN=$${KOPIA_BIN:-$$(test/kopia/build.sh)} && export KOPIA_BIN &&

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-17s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: build
build: ## bin/vappvault and bin/vcdsim
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o bin/ ./cmd/vappvault ./cmd/vcdsim

.PHONY: demo
demo: ## back up, delete and restore a vApp of a simulated cloud, and prove it (3 minutes)
	@script/setup demo
	@demo/demo.sh

.PHONY: test
test: ## all tests, as CI runs them
	@script/setup test
	@RACES='-p 1' script/test

# These packages' tests would take half of the race detector's time, and most
# of them do one thing after another. All of them run without it, and those
# about what happens at the same time with it.
ORDERLY := internal/plan internal/sim/cloud internal/sim/director
AT_ONCE := AtOnce|AtTheSameTime|Tasks|Imports|Leases|Restart|Kill|Moves|Plan

.PHONY: test-race
test-race: ## the packages' tests in small sizes, with the race detector
	$(GO) test $(RACE) $(RACES) -short -parallel 1 -timeout 15m \
		$$($(GO) list ./cmd/... ./internal/... ./vcdsim | grep -vE '/($(subst $(space),|,$(ORDERLY)))$$')
	$(GO) test $(RACE) $(RACES) -short -parallel 1 -timeout 15m -run '$(AT_ONCE)' $(addprefix ./,$(ORDERLY))

.PHONY: test-plain
test-plain: ## the tests that are left out above, without it
	$(GO) test -short -parallel 4 -timeout 15m $(addprefix ./,$(ORDERLY))

.PHONY: test-full
test-full: ## the packages' tests that are smaller above, in full
	$(WITH_KOPIA) $(GO) test -timeout 15m ./internal/repository

.PHONY: e2e
e2e: ## whole programs against the simulated cloud
	$(WITH_KOPIA) $(GO) test -parallel 6 -timeout 45m ./test/... ./bench

.PHONY: clients
clients: ## foreign clients against the simulated cloud
	cd test/conformance && $(GO) test -count=1 -timeout 15m ./... # what it drives is no input that go test knows of
	cd test/govc && $(GO) test -count=1 -timeout 15m ./...
	test/govcd/run.sh -j 6 @sample.txt

.PHONY: test-conformance
test-conformance: ## all of go-vcloud-director's own tests that are about what is simulated (half an hour)
	test/govcd/run.sh -j 8 @all.txt

.PHONY: e2e-long
e2e-long: ## all of what `make test` does a share of: kills after every step, every wrong answer to every request, every way back of every kind of vApp
	VAPPVAULT_LONG=1 $(GO) test -timeout 60m -run 'Killed|PowerCut|AllOrNothing|IsNamed|BadDay|Hostile|EveryWayBack|Memory|InMidRun|MadeByConsent' ./test/e2e

.PHONY: bench
bench: ## against kopia, restic, borg and what the machine can do; BENCHARGS="-only full"
	$(GO) run ./bench -results bench/RESULTS.md $(BENCHARGS)

.PHONY: bench-micro
bench-micro: ## the packages' own benchmarks; BENCH=REGEXP picks
	$(GO) test -run '^$$' -bench '$(BENCH)' -benchmem -timeout 60m ./internal/...

OLD ?= HEAD~1
.PHONY: bench-compare
bench-compare: ## the packages' own benchmarks at OLD and now, by turns, told apart by benchstat
	@script/bench-compare '$(OLD)' '$(BENCH)'

.PHONY: lint
lint: ## formatting, go vet, staticcheck, who may import whom
	@script/lint

.PHONY: fuzz
fuzz: ## every fuzz test, FUZZRUNS runs each; FUZZ=REGEXP picks
	@script/fuzz '$(FUZZ)' '$(FUZZRUNS)'

.PHONY: setup
setup: ## what the tests and the demo need from the system: installs it as root, else names it
	@script/setup test

.PHONY: clean
clean: ## remove what was built
	rm -rf bin
