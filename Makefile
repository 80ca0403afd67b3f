# The two commands: `make demo` shows that it works, `make test` shows it thoroughly.

SHELL := /bin/bash
export PATH := $(HOME)/.cargo/bin:$(PATH):/usr/sbin:/sbin

# Namespaces need root. Building does not: only what runs in them goes through sudo.
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo 'sudo -E')
RUNNER := $(if $(SUDO),--config "target.'cfg(unix)'.runner='$(SUDO)'")

# Said before a build of minutes, not after it.
define root
@[ "$$(id -u)" = 0 ] || command -v sudo >/dev/null || { echo 'make $@: namespaces need root, and there is no sudo: run make as root' >&2; exit 1; }
endef

.PHONY: help setup demo test bench bench-full bench-veth stages instructions fuzz fmt lint clean-lab

help:
	@echo 'make demo       build, and watch NAT, DR and TUN carry real traffic in namespaces (root)'
	@echo 'make test       everything: style, unit and property tests, captures, namespaces (root)'
	@echo 'make bench      one page of ratios, also in target/bench.json (3 minutes; bench-full: up to 10M connections)'
	@echo 'make bench-veth lvx run on veth against nft DNAT and a bare AF_XDP loop, also in target/bench-veth.json (2 minutes, root)'
	@echo 'make stages     a bench for each stage: parse, conntrack, sched, forward, pipeline'
	@echo 'make instructions   instructions per packet, counted by callgrind: LIMIT=n fails above n'
	@echo 'make fuzz       cargo-fuzz, SECONDS=600 for each target (nightly Rust); finds are in fuzz/artifacts/'
	@echo 'make fmt lint   rustfmt; clippy with both feature sets'
	@echo 'make clean-lab  remove every lab that there is, those left behind by tests included (root)'

setup:
	@scripts/setup

demo: setup
	$(root)
	cargo build --release --locked
	$(SUDO) target/release/lvx lab demo

test: setup
	$(root)
	cargo fmt --check
	$(MAKE) --no-print-directory lint
	cargo test --locked $(RUNNER)

# The benches need no AF_XDP: they build without it.
RATIOS := cargo bench --locked --no-default-features --bench ratios

bench: setup
	$(RATIOS)

bench-full: setup
	$(RATIOS) -- --full

bench-veth: setup
	$(root)
	cargo bench --locked $(RUNNER) --bench veth

stages: setup
	cargo bench --locked --no-default-features

instructions: setup
	@command -v valgrind >/dev/null || { echo 'valgrind is missing (apt install valgrind)' >&2; exit 1; }
	scripts/instructions "$$($(RATIOS) --no-run --message-format=json \
		| sed -n 's/.*"name":"ratios".*"executable":"\([^"]*\)".*/\1/p')" $(LIMIT)

SECONDS := 600
FUZZ_TARGETS := parse pipeline config

fuzz:
	@cargo fuzz --version >/dev/null || { echo 'cargo-fuzz is missing (cargo install cargo-fuzz; rustup toolchain install nightly)' >&2; exit 1; }
	LVX_SEEDS=$(CURDIR)/fuzz/corpus cargo test --locked --no-default-features --test any_frames golden
	mkdir -p fuzz/corpus/config && cp examples/*.toml fuzz/corpus/config/
	set -e; for target in $(FUZZ_TARGETS); do \
		(cd fuzz && cargo +nightly fuzz run $$target -- -max_total_time=$(SECONDS) -max_len=8000); done

fmt:
	cargo fmt
	cargo fmt --manifest-path fuzz/Cargo.toml

lint:
	cargo clippy --locked --all-targets --no-default-features -- -D warnings
	cargo clippy --locked --all-targets -- -D warnings

clean-lab:
	cargo build --release --locked
	$(SUDO) target/release/lvx lab down --all
