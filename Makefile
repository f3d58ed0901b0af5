# What can be made here. `make` alone lists the targets; CI calls the same ones and nothing else.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

target := $(or $(CARGO_TARGET_DIR),target)
static_triple := x86_64-unknown-linux-gnu
static_bin := $(target)/$(static_triple)/release/footlight

# Machines of other kinds have no static binary and no emulated machine; all else is made and tested there too.
machine := $(shell uname -m)
ifeq ($(machine),x86_64)
browsed := static
browsed_bin := $(static_bin)
else
browsed := build
browsed_bin := $(target)/release/footlight
endif

export CARGO_TERM_COLOR ?= auto

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 16

.PHONY: run
run: build ## install what is missing, build the release binary and start it on its defaults
	$(target)/release/footlight run

.PHONY: build
build: deps ffmpeg web ## the release binary, target/release/footlight
	cargo build --release

.PHONY: static
static: x86-64 deps ffmpeg web ## the static-pie binary that runs on any x86-64 Linux, alone
	RUSTFLAGS="-C target-feature=+crt-static" cargo build --release --target $(static_triple)
	@ls -l $(static_bin)

.PHONY: x86-64
x86-64:
ifneq ($(machine),x86_64)
	@echo "make: the static binary and the emulated machine are for x86-64, and this machine is $(machine)" >&2; exit 1
endif

.PHONY: deps
deps:
	@cross/install.sh build

.PHONY: test-deps
test-deps:
	@cross/install.sh test

.PHONY: lint-deps
lint-deps:
	@cross/install.sh lint

.PHONY: ffmpeg
ffmpeg: deps ## the pinned static FFmpeg and x264, built once under target/
	@cross/ffmpeg.sh target/ffmpeg

.PHONY: web
web: web-ui/dist/.built ## the pages, built from web-ui/ and carried in the binary

web-ui/node_modules/.installed: web-ui/package.json web-ui/package-lock.json | deps
	cd web-ui && npm ci --no-audit --no-fund --loglevel=error
	@touch $@

web-ui/dist/.built: web-ui/node_modules/.installed $(shell find web-ui -type f -not -path '*/node_modules/*' -not -path '*/dist/*' -not -path '*/e2e/*' 2>/dev/null)
	cd web-ui && npm run --silent build
	@touch $@

.PHONY: test
test: test-deps ffmpeg web test-media ## every test, the browser's and the emulated machine's included
	cargo build
	cargo test
	$(MAKE) test-slow
	$(MAKE) test-web
	$(MAKE) test-browser
ifeq ($(machine),x86_64)
	$(MAKE) test-machine
else
	@echo "make: all but the emulated machine's tests, which need x86-64: this machine is $(machine)" >&2
endif

.PHONY: test-slow
test-slow: test-deps ffmpeg web ## tests that take their time: a line that flaps for a minute, a box killed 200 times
	cargo test --test failover --test crash -- --ignored

.PHONY: test-web
test-web: web ## the pages' own checks: types and unit tests
	cd web-ui && npm run --silent check

.PHONY: test-browser
test-browser: test-deps $(browsed) ## the viewer page in a real browser, against the release binary
	cd web-ui && FOOTLIGHT_BIN=$(abspath $(browsed_bin)) npm run --silent e2e

.PHONY: test-media
test-media: test-deps ## the real clip that tests film with
	@tests/media/fetch.sh

.PHONY: test-machine
test-machine: x86-64 test-deps static ## the static binary in an empty root, and in an emulated machine with a camera
	tests/vm/prepare.sh
	FOOTLIGHT_STATIC=$(abspath $(static_bin)) cargo test --no-fail-fast --test machine --test disk_machine --test static_root -- --ignored --test-threads=1

.PHONY: lint
lint: lint-deps ffmpeg web ## formatting and clippy, warnings denied
	cargo fmt --check
	cargo clippy --all-targets --all-features -- -D warnings
	RUSTDOCFLAGS="-D warnings -A rustdoc::private_intra_doc_links" cargo doc --no-deps --document-private-items --quiet

.PHONY: bench
bench: ffmpeg web ## measure the README's figures on this machine
	cargo bench

.PHONY: clean
clean: ## forget what was built, but not the fetched sources
	rm -rf $(target)/debug $(target)/release $(target)/$(static_triple) $(target)/ffmpeg web-ui/dist web-ui/node_modules
