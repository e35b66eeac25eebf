# Each target sets itself up on a new machine; tests/rig/setup says what it needs and where it keeps it.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Evaluated apart from eval: the exit code of a command substitution inside eval would be lost.
environment = environment=$$(tests/rig/setup --print-env $(1)) && eval "$$environment"

.PHONY: help demo demo-full test bench lint clean

help: ## show this
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## (.*)/  make \1|\2/' | awk -F"|" '{ printf "%-18s%s\n", $$1, $$2 }'

demo: ## lose a small platform and get it back, on a real API server
	@tests/rig/demo

demo-full: ## the same with a whole platform of real servers: pods, databases, metrics, logs
	@tests/rig/setup test
	@echo "building ckbackup and its tests (up to 8 minutes on 2 cores, once per checkout)" >&2
	@$(call environment,test) && cargo test --quiet --test it -- whole_platform:: --nocapture

test: ## all tests, on real servers
	@tests/rig/setup test
	@$(call environment,test) && cargo test --workspace

bench: ## measure backup and restore against what the servers can take
	@tests/rig/setup bench
	@$(call environment,bench) && benches/run

lint: ## formatting, clippy, and the licences and origins of dependencies
	@tests/rig/setup lint
	cargo fmt --all --check
	cargo clippy --workspace --all-targets -- -D warnings
	@$(call environment,lint) && "$$CARGO_DENY" --log-level warn check bans licenses sources

clean: ## remove what was built in this checkout; built servers stay cached
	cargo clean
