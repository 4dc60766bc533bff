# The menu: plain `make` prints it. The work is in `cargo xtask` (crates/xtask).
# More arguments: `make demo ARGS='--orders 400'`, `make test ARGS='-p causeway-queue -- restart'`.

.DEFAULT_GOAL := help
ARGS ?=

.PHONY: help demo chaos brokers conformance test check lint build release services-up services-down docs image clean

help: ## print this menu
	@echo 'make <target> [ARGS="…"]'
	@echo
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-14s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# cargo's alias for xtask is quiet; a first build takes minutes and should be seen.
.PHONY: xtask
xtask:
	@cargo build --package causeway-xtask

# For release, as the programs that it starts: nothing is built twice, and it reads its evidence in no time.
demo: ## the main job end to end, with faults: ends in a table and target/demo/report.json
	@cargo build --release --package causeway-xtask
	@cargo run --release --quiet --package causeway-xtask -- demo $(ARGS)

chaos: xtask ## the fleet under load while everything around it fails at random: a scorecard and target/chaos/report.json
	@cargo xtask chaos $(ARGS)

brokers: xtask ## the queue's tests and a short chaos run on RabbitMQ 4.0 and 4.3 (root, and a Debian mirror)
	@cargo xtask brokers $(ARGS)

conformance: xtask ## public clients from npm, PyPI and crates.io against the simulated org
	@cargo xtask conformance $(ARGS)

test: xtask ## every test, with private RabbitMQ and Redis nodes
	cargo xtask test $(ARGS)

check: xtask ## format, clippy, docs, architecture, dependencies
	cargo xtask check $(ARGS)

lint: xtask ## format and clippy only
	cargo xtask check --only format,clippy

build: ## all programs, for work on them
	cargo build --workspace $(ARGS)

release: ## all programs, optimised, below target/release
	cargo build --workspace --release --bins $(ARGS)

services-up: xtask ## start private RabbitMQ and Redis nodes and print their addresses
	@cargo xtask services up

services-down: xtask ## stop them and remove their data
	@cargo xtask services down

docs: ## the crates' documentation, below target/doc
	cargo doc --workspace --no-deps --document-private-items $(ARGS)

image: ## one container image with all programs
	docker build --file deploy/Dockerfile --tag causeway .

clean: ## remove everything that was built, and stop the private nodes
	-@test ! -x target/debug/causeway-xtask || target/debug/causeway-xtask services down
	cargo clean
