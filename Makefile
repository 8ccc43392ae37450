# What a developer types. The work is in ops/, a script a target, so that each also runs by itself.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-print-directory
# Where rustup puts cargo, for shells that have not read its profile.
export PATH := $(PATH):$(HOME)/.cargo/bin

.PHONY: help
help: ## Say what there is
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

.PHONY: demo
demo: ## Everything at once, with simulated viewers: watch it in a browser; Ctrl-C ends it
	@ops/demo

.PHONY: services
services: ## Start Kafka and PostgreSQL, print their addresses (PULSEGATE_RUN_DIR, …_KAFKA_PORT, …_POSTGRES_PORT)
	@ops/services/up

.PHONY: down
down: ## Stop what `make services` started; data stays
	@ops/services/down

.PHONY: web
web: ## Build the player and the dashboard into web/dist
	@ops/check-tools node npm
	@ops/web

.PHONY: build
build: web ## Build target/release/pulsegate
	@ops/check-tools cargo cmake g++ libcurl libssl make pkg-config zlib
	cargo build --release --locked

.PHONY: test
test: ## Every check there is: format, lints, docs, web and Rust tests, on a real Kafka, PostgreSQL and browser
	@ops/check-tools
	@ops/test

.PHONY: bench
bench: web ## Measure the main job and the projections against the raw limits of their parts; rows also in target/bench.json
	@ops/check-tools
	@PULSEGATE_KAFKA_JVM=-XX:+TieredCompilation ops/with-services cargo bench -p pulsegate --bench main_job --locked

.PHONY: chaos
chaos: web ## Break everything in turn for CHAOS_SECONDS (600) while viewers play, by CHAOS_SEED; then recount from the log
	@ops/check-tools
	CHAOS_SECONDS=$(or $(CHAOS_SECONDS),600) cargo test --locked --test pulsegate -- chaos --nocapture

.PHONY: soak
soak: web ## Half of a node's load for SOAK_SECONDS (3600): memory and latency must not grow
	@ops/check-tools
	@PULSEGATE_KAFKA_JVM=-XX:+TieredCompilation ops/with-services cargo bench -p pulsegate --bench main_job --locked -- soak

.PHONY: image
image: web ## Pack the program as a container image without an engine (needs buildah): target/pulsegate-image.tar
	@ops/check-tools cargo cmake g++ libcurl libssl make pkg-config zlib
	cargo build --profile dist --locked
	ops/image/make

.PHONY: check-image
check-image: ## Enter the image and run it, read-only and without rights (needs root, skopeo, umoci)
	@ops/with-services ops/image/check

.PHONY: sbom
sbom: ## List what the program is made of and under which licences: target/sbom.cdx.json, target/licences.md
	@ops/sbom

.PHONY: deploy-plan
deploy-plan: ## Show what the stacks of ops/aws would create (SIZE=small|medium|large KAFKA=provisioned|serverless)
	@ops/aws/with-tools ops/aws/plan $(or $(SIZE),small) $(or $(KAFKA),provisioned)

.PHONY: check-aws
check-aws: ## Check the stacks without a cloud: cfn-lint, checkov, rights against code, moto
	@ops/aws/check

.PHONY: check-api
check-api: ## Hold the running HTTP surface against its description with Schemathesis (API_CHECK_SEED, API_CHECK_EXAMPLES)
	@ops/api/check

.PHONY: fuzz
fuzz: ## Feed every decoder with what nobody would send, for FUZZ_SECONDS (60) each, by FUZZ_SEED or another seed each time
	FUZZ_SECONDS=$(or $(FUZZ_SECONDS),60) cargo test --workspace --locked fuzzed -- --nocapture

.PHONY: check-alerts
check-alerts: ## Check the alert rules with promtool: that they are read, and what they say of made-up figures
	@ops/observe/check

.PHONY: fmt
fmt: ## Format the Rust code
	cargo fmt --all

.PHONY: lint
lint: web ## Format check, clippy, rustdoc, shellcheck where there is one; nothing runs
	cargo fmt --all --check
	cargo clippy --workspace --all-targets --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
	ops/check-docs
	if command -v shellcheck >/dev/null; then shellcheck $$(grep -rlE '^#!/usr/bin/env bash' ops .ci) ops/services/env.sh ops/aws/settings.sh; fi
