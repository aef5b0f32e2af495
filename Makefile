# make help lists what there is to make.
GO      ?= go
TOOLS   := $(CURDIR)/bin/tools
EXAMPLE := jobs/examples/tour/tour.wasm
MANDELBROT := jobs/examples/mandelbrot
QUEENS  := jobs/examples/queens
PROTOS  := $(wildcard proto/grid/v1/*.proto)
GOFILES := $(shell git ls-files --cached --others --exclude-standard '*.go' 2>/dev/null | grep -v '\.pb\.go$$')

export CGO_ENABLED ?= 0

# Debian installs wasi-libc into /usr, others into a folder of its own; newer versions call it wasip1.
CLANG ?= clang
WASM_OPT ?= wasm-opt
ASYNCIFY := -O2 --asyncify --pass-arg=asyncify-imports@grid.checkpoint
WASI_SYSROOT ?= $(firstword $(patsubst %/include/wasm32-wasi,%,$(wildcard $(addsuffix /include/wasm32-wasi,\
	/usr /usr/share/wasi-sysroot /usr/local /opt/wasi-sdk/share/wasi-sysroot))) /usr)

.DELETE_ON_ERROR:
.PHONY: help build examples examples-c demo test monitoring page-test vendor-charts systemd packages race fuzz bench microbench cross vet lint fmt proto verify tidy days nightly clean

help: ## show this
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## build gridagent, gridcoordinator and gridctl into bin/
	$(GO) build -trimpath -o bin/ ./agent/cmd/gridagent ./coordinator/cmd/gridcoordinator ./coordinator/cmd/gridctl

examples: ## build the examples' programs to WebAssembly
	GOOS=wasip1 GOARCH=wasm $(GO) build -trimpath -buildmode=c-shared -ldflags='-s -w' -o $(EXAMPLE) ./jobs/examples/tour

# No contraction: each operation is rounded by itself, so that every compiler gives the same picture. Not --strip-all:
# wasm-opt has to see which features a module uses.
CFLAGS_WASM := --target=wasm32-wasi --sysroot=$(WASI_SYSROOT) -O2 -ffp-contract=off -Wall -Wextra -Werror -Wl,--strip-debug

examples-c: $(MANDELBROT)/mandelbrot.wasm $(QUEENS)/queens.wasm ## build the examples in C (needs clang, lld, wasi-libc, wasm-opt)

$(MANDELBROT)/mandelbrot.wasm: $(wildcard $(MANDELBROT)/*.c $(MANDELBROT)/*.h)
	$(CLANG) $(CFLAGS_WASM) -o $@ $(filter %.c,$^)

# Without wasm-opt the program does all but keep checkpoints, and is made again the next time.
$(QUEENS)/queens.wasm: $(QUEENS)/queens.c jobs/guest/grid.h
	$(CLANG) $(CFLAGS_WASM) -Ijobs/guest -o $@ $<
	@if command -v $(WASM_OPT) >/dev/null; then set -x; $(WASM_OPT) $(ASYNCIFY) $@ -o $@; else \
		echo "no $(WASM_OPT) here (Debian: apt install binaryen): $@ WILL NOT KEEP CHECKPOINTS" >&2; \
		touch -t 197001020000 $@; fi

demo: build examples ## run a real job on a throw-away grid on this machine; KEEP=1 leaves the grid running
	deploy/demo/demo.sh

test: build examples ## run all tests
	$(GO) test -timeout 30m ./...

monitoring: ## check rules and alerts for Prometheus (needs promtool) and dashboards for Grafana (needs npm)
	@if command -v promtool >/dev/null; then \
		promtool check config deploy/prometheus/prometheus.yml && \
		promtool check rules --lint=all --lint-fatal deploy/prometheus/rules/*.yml && \
		promtool test rules deploy/prometheus/tests/*.yml; \
	else \
		echo "NOT CHECKED: no promtool here (Debian: apt install prometheus)"; \
	fi
	deploy/grafana/check/check.sh

page-test: ## look at the coordinator's page in a browser (needs node, npm, chromium); PAGE_PICTURES=FOLDER keeps pictures
	PAGE_TEST=1 $(GO) test -count 1 -timeout 10m -v -run '^TestBrowser$$' ./coordinator/internal/e2e

# uPlot draws the charts of the page. Its files are in the tree as they come from npm; to renew them change the version, make
# this, and look at the charts with page-test.
UPLOT := 1.6.32
UPLOT_DIR := coordinator/internal/web/static/uplot
vendor-charts: ## fetch the library that draws the page's charts into the tree (needs npm)
	@set -e; dir=$$(mktemp -d); trap 'rm -rf "$$dir"' EXIT; \
	(cd "$$dir" && npm pack --silent uplot@$(UPLOT) && tar xzf uplot-$(UPLOT).tgz); \
	cp "$$dir"/package/LICENSE "$$dir"/package/dist/uPlot.iife.min.js "$$dir"/package/dist/uPlot.min.css $(UPLOT_DIR)/

systemd: build examples ## try the services under a real systemd in a container (root; debootstrap, systemd-container)
	deploy/test/systemd.sh

# The packages' tool has a module of its own: it brings a hundred others.
bin/packages/nfpm: deploy/packages/go.mod deploy/packages/go.sum
	@mkdir -p bin/packages
	cd deploy/packages && GOBIN=$(CURDIR)/bin/packages $(GO) install tool

# A later commit is a later version.
ARCH ?= amd64
VERSION ?= 0.0.$(shell git rev-list --count HEAD)
BUILT := bin/packages/$(ARCH)
packages: bin/packages/nfpm ## make deb and rpm packages of the services for ARCH (amd64, arm64) in bin/packages
	GOOS=linux GOARCH=$(ARCH) $(GO) build -trimpath -o $(BUILT)/ ./agent/cmd/gridagent ./coordinator/cmd/gridcoordinator
	@for p in 'gridagent agent idlegrid' 'gridcoordinator coordinator idlegrid-coordinator'; do set -e -- $$p; \
		for f in postinst prerm postrm; do \
			sed "s/@NAME@/$$1/g; s/@ROLE@/$$2/g; s/@USER@/$$3/g" deploy/packages/$$f.sh >$(BUILT)/$$1.$$f; \
		done; \
		sed 's|@BUILT@|$(BUILT)|' deploy/packages/$$1.yaml >$(BUILT)/$$1.yaml; \
		for f in deb rpm; do \
			ARCH=$(ARCH) VERSION=$(VERSION) bin/packages/nfpm package -f $(BUILT)/$$1.yaml -p $$f -t bin/packages; \
		done; \
	done

# The end-to-end tests start programs of their own, which the detector would not see into. Large grids and scripts
# are for nightly.
RACEFLAGS ?= -short
race: examples ## run the tests with the race detector (needs a C compiler)
	CGO_ENABLED=1 $(GO) test -race $(RACEFLAGS) -timeout 40m $$($(GO) list ./... | grep -v /e2e$$)
	CGO_ENABLED=1 CHAOS_SEEDS=2 $(GO) test -race -run '^TestChaos$$' ./coordinator/internal/gridtest

FUZZTIME ?= 10s
fuzz: ## fuzz every decoder for FUZZTIME each
	deploy/tools/fuzz.sh $(FUZZTIME)

# BENCH_IDLE is how long idle agents are watched (10m), BENCH_AGENTS how many a coordinator has (500).
bench: ## print the figures of the README, measured on a quiet machine (an hour; some need clang, Xvfb and dbus-daemon)
	WASI_SYSROOT=$(WASI_SYSROOT) $(GO) test -run '^$$' -bench Figures -benchtime 1x -timeout 0 ./coordinator/internal/e2e
	$(GO) test -run '^$$' -bench 'Figures(Stop|Foreground|Harvest)' -benchtime 1x -timeout 0 ./agent/executor

microbench: ## run the benchmarks of all packages once
	$(GO) test -run '^$$' -bench . -benchtime 1s $$($(GO) list ./... | grep -v /e2e$$)

cross: ## build for every system and processor
	@for os in linux windows darwin; do for arch in amd64 arm64; do \
		echo "build $$os/$$arch"; CGO_ENABLED=0 GOOS=$$os GOARCH=$$arch $(GO) build -o /dev/null ./... || exit 1; \
	done; done

vet: ## go vet for every system
	@for os in linux windows darwin; do echo "vet $$os"; GOOS=$$os $(GO) vet ./... || exit 1; done
	$(GO) vet -tags failpoints ./agent/peer/failpoint

# Pinned tools have a module of their own.
$(TOOLS)/%: deploy/tools/go.mod deploy/tools/go.sum
	@mkdir -p $(TOOLS)
	cd deploy/tools && GOBIN=$(TOOLS) $(GO) install tool

lint: $(TOOLS)/golangci-lint ## run golangci-lint and gofumpt
	$(TOOLS)/golangci-lint run ./...
	@out=$$($(TOOLS)/gofumpt -l $(GOFILES)); if [ -n "$$out" ]; then echo "not formatted (make fmt):"; echo "$$out"; exit 1; fi

fmt: $(TOOLS)/gofumpt ## format the sources
	$(TOOLS)/gofumpt -w $(GOFILES)

proto: $(TOOLS)/protoc-gen-go ## generate Go from the .proto files (needs protoc)
	PATH=$(TOOLS):$$PATH protoc -I proto --go_out=. --go_opt=module=idlegrid \
		--go-grpc_out=. --go-grpc_opt=module=idlegrid $(PROTOS)

verify: proto ## fail if generated code or go.mod is stale
	@# The version of protoc stands in a comment and differs between distributions.
	git diff --exit-code -I '^// [-	]*protoc  ' -- proto
	$(GO) mod tidy -diff

tidy: ## tidy all modules
	$(GO) mod tidy
	cd deploy/tools && $(GO) mod tidy
	cd deploy/packages && $(GO) mod tidy

# CHAOS_SEEDS is how many days are simulated, else DAYS; CHAOS_SEED is the number of the first. The state folders lie in
# memory where there is room: waiting for a disk is most of a day's real time.
DAYS ?= 2
DAYS_TIMEOUT ?= 20m
MEMORY := $(shell [ "$$(df -Pk /dev/shm 2>/dev/null | awk 'NR == 2 { print $$4 }')" -gt 1000000 ] 2>/dev/null && echo /dev/shm)
days: ## simulate days of an office with faults, in virtual time
	$(if $(MEMORY),GOTMPDIR=$${TMPDIR:-/tmp} TMPDIR=$(MEMORY)) CHAOS_HOURS=24 CHAOS_SEED=$${CHAOS_SEED:-1} CHAOS_SEEDS=$${CHAOS_SEEDS:-$(DAYS)} $(GO) test -timeout $(DAYS_TIMEOUT) -count 1 -run '^TestChaos$$' ./coordinator/internal/gridtest

NIGHTLY_FUZZTIME ?= 60s
NIGHTLY_SEEDS ?= 200
nightly: ## what takes too long for every change
	$(MAKE) race RACEFLAGS='-skip ^TestChaos$$'
	$(MAKE) days DAYS=$(NIGHTLY_SEEDS) DAYS_TIMEOUT=0
	GRID_PROGRAM_MIB=50 $(GO) test -count 1 -run TestProgramTravelsBetweenAgents ./coordinator/internal/gridtest
	PLANTED=all $(GO) test -timeout 0 -count 1 -run TestPlanted ./coordinator/internal/e2e
	E2E_KILLS=200 $(GO) test -timeout 30m -count 1 -run TestP12Kills ./coordinator/internal/e2e
	E2E_CHURN=5m $(GO) test -timeout 30m -count 1 -v -run TestChurn ./coordinator/internal/e2e
	$(MAKE) fuzz FUZZTIME=$(NIGHTLY_FUZZTIME)
	$(MAKE) packages systemd

clean: ## remove what was built
	rm -rf bin $(EXAMPLE) $(MANDELBROT)/mandelbrot.wasm $(QUEENS)/queens.wasm
