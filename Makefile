# Two commands are the whole set-up: `make run` and `make test`. The rest is for those who work on it.
.PHONY: setup run cut join test check bench proof lock fix clean
BIN := .venv/bin
HOST ?= 127.0.0.1

setup:
	@sh packaging/set_up.sh dev

run: setup
	@sh packaging/system_packages.sh need mosquitto=mosquitto want libzbar0=libzbar.so.0
	@exec $(BIN)/doorstep-cloud demo --host $(HOST) $(DEMO)

# While `make run` runs: take the broker away, and bring it back.
cut join:
	@$(BIN)/doorstep-cloud demo $@

test: setup
	@sh packaging/system_packages.sh want mosquitto=mosquitto libzbar0=libzbar.so.0 chromium=chromium libatomic1=libatomic.so.1 postgresql=initdb strace=strace
	@$(MAKE) --no-print-directory check
	@$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder --cov --cov-report=term

check:
	@$(BIN)/ruff format --check -q . && $(BIN)/ruff check -q .
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-cache

bench: setup
	@sh packaging/system_packages.sh want mosquitto=mosquitto libzbar0=libzbar.so.0 postgresql=initdb strace=strace
	@$(BIN)/python -m tests.bench

proof: setup
	@sh packaging/system_packages.sh want mosquitto=mosquitto libzbar0=libzbar.so.0 postgresql=initdb strace=strace rabbitmq-server=rabbitmq-server iproute2=tc
	@$(BIN)/python -m tests.bench.proof

# Neutral by construction: names, versions, markers and hashes; no host (tests/tidy holds it).
lock: setup
	@sh packaging/lock.sh

fix: setup
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
