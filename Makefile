# Peapod: `make help` lists the targets.
SHELL   := /bin/bash
GO      ?= go
BIN     := peapod
TAGS    := netgo,osusergo,seccomp
# Kubernetes' own deprecated types (Endpoints) must be served, and its messages begin with capitals.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
KUBE    := v1.37.2
K9S     := v0.50.9
FUZZTIME ?= 10s
CHAOS   ?= 10
SEEDS   ?= 10000
LDFLAGS := -s -w -linkmode external -extldflags -static -X github.com/peapod-sh/peapod/internal/version.Version=$(VERSION)

export CGO_ENABLED := 1

.PHONY: help kubectl clients k9s libseccomp cinit build demo demo-down test unit e2e chaos sim race fuzz lint bench bench-million bench-proxy generate deps clean

help: ## Show this list
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## / {printf "  %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: libseccomp cinit ## Build ./peapod, one static binary
	$(GO) build -tags $(TAGS) -ldflags '$(LDFLAGS)' -o $(BIN) .

# What a container's first process is until it becomes the image's: small, and embedded in the binary.
cinit: libseccomp
	$(GO) build -tags $(TAGS) -buildvcs=false -ldflags '-s -w -linkmode external -extldflags -static' -o internal/cinit/built/cinit ./internal/cinit/program

libseccomp:
	@case ,$(TAGS), in *,seccomp,*) pkg-config --exists libseccomp || { \
		echo "containers' seccomp filters need libseccomp: run 'make deps' (Debian: libseccomp-dev and pkg-config)," >&2; \
		echo "or build without them: make build TAGS=netgo,osusergo" >&2; exit 1; };; esac

demo: build ## Start a lab of 3 servers and 3 clients, run the examples, and say what to try next
	./$(BIN) lab demo

demo-down: ## Stop the demo's lab and leave nothing behind
	@if [ -x ./$(BIN) ]; then ./$(BIN) lab down; else echo "nothing to stop: ./$(BIN) was not built"; fi

deps: ## Install what the tests need (Debian packages)
	@e2e/install-deps

test: deps build unit e2e ## Everything: unit, property, golden and end-to-end tests

unit: ## Unit, property and golden tests
	$(GO) test -tags $(TAGS) $$($(GO) list ./... | grep -v /e2e)

e2e: build kubectl clients ## End-to-end tests on the real binary, with the real kubectl
	cd e2e && $(GO) test -tags $(TAGS) -count=1 -p 1 -timeout 10m ./...

chaos: build kubectl ## Kill a node's agent at random moments of many pods' lives, CHAOS times over (default 10)
	cd e2e && $(GO) test -tags $(TAGS) -count=$(CHAOS) -timeout 60m -v ./podtest -run KilledAtRandom

sim: ## Run SEEDS (default 10000) simulated clusters through faults, in virtual time
	cd e2e && $(GO) test -tags $(TAGS) -count=1 -v -timeout 24h ./sim -run 'TestSeeds$$' -seeds $(SEEDS)

kubectl: ## Build bin/kubectl, the unmodified client that the tests use
	cd e2e && $(GO) build -tags $(TAGS) -ldflags '-X k8s.io/component-base/version.gitVersion=$(KUBE)' -o ../bin/kubectl ./kubectl

# The flags are kubectl's, so that what they have in common is built once.
clients: ## Build the other unmodified clients that the tests use (docs/CLIENTS.md)
	cd e2e/clients && $(GO) build -tags $(TAGS) -ldflags '-s -w' -o ../../bin/helm3 helm.sh/helm/v3/cmd/helm
	cd e2e/clients && $(GO) build -tags $(TAGS) -ldflags '-s -w' -o ../../bin/helm4 helm.sh/helm/v4/cmd/helm
	cd e2e/clients && $(GO) build -tags $(TAGS) -ldflags '-s -w' -o ../../bin/kustomize sigs.k8s.io/kustomize/kustomize/v5
	cd e2e/clients && $(GO) build -tags $(TAGS) -ldflags '-s -w' -o ../../bin/stern github.com/stern/stern
	cd e2e/clients && $(GO) build -tags $(TAGS) -ldflags '-s -w' -o ../../bin/operator ./operator

# Its libraries are of another version than all others, and many: it is no part of clients. Go's checksum database answers for them.
k9s: ## Build bin/k9s; its test is left out where it is missing
	@out=$$PWD/bin/k9s dir=$$(mktemp -d) && trap "rm -rf $$dir" EXIT && cd $$dir && $(GO) mod init k9s && $(GO) get github.com/derailed/k9s@$(K9S) && \
		CGO_ENABLED=0 $(GO) build -ldflags '-s -w' -o $$out github.com/derailed/k9s

race: ## Unit tests under the race detector
	$(GO) test -race -tags $(TAGS) $$($(GO) list ./... | grep -v /e2e)

fuzz: ## Fuzz every decoder of what comes from outside, one after the other, each for FUZZTIME (default 10s)
	@for found in $$(git grep -o '^func Fuzz[A-Za-z0-9]*' -- '*_test.go' | sed 's/func //'); do \
		package=./$$(dirname $${found%%:*}) target=$${found##*:}; \
		echo "$$package $$target"; \
		$(GO) test -tags $(TAGS) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 100x -parallel 1 $$package || exit 1; \
	done

lint: ## gofmt, go vet, staticcheck, and the architecture test
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { echo "gofmt would change:"; gofmt -l $$(git ls-files '*.go'); exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	cd e2e && $(GO) vet -tags $(TAGS) ./...
	cd e2e/clients && $(GO) vet -tags $(TAGS) ./...
	$(GO) test -tags $(TAGS) ./internal/archtest
	$(GO) run $(STATICCHECK) -tags $(TAGS) -checks inherit,-SA1019,-ST1005 $$($(GO) list ./... | grep -v api/openapi)

bench: build ## Print the speed table of docs/RECORDS.md
	cd e2e && $(GO) run -tags $(TAGS) ./bench $(if $(BENCH),-run $(BENCH))

bench-million: ## Run a million pods on 20,000 simulated nodes, and kill the leader
	$(MAKE) bench BENCH=million

bench-proxy: ## Compare the service proxy with a direct connection, HAProxy, nginx and DNAT (PROXY='-run bulk -rounds 3' for less)
	@e2e/install-deps haproxy nginx-light libnginx-mod-stream iptables nftables
	cd e2e && $(GO) run -tags $(TAGS) ./proxybench $(PROXY)

generate: ## Make generated files anew
	$(GO) generate ./...

clean: ## Remove what was built
	rm -rf $(BIN) bin internal/cinit/built/cinit
