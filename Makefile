# Everything is done inside the clone: the environment in .venv, results in .out.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT := .out

.DEFAULT_GOAL := help
.PHONY: help setup run run-serving run-stream stop test fuzz soak lint types format docs bench images clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(READY) ## make the environment in .venv (other targets do it where it is missing)

$(READY): pyproject.toml setup.py constraints.txt $(wildcard core/tfrecord/*.[ch])
	@echo "Making the environment in $(VENV); this takes some minutes, once."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

BIRTHS := examples/natality/births.csv

run: $(READY) $(BIRTHS) ## train, evaluate and deploy the birth-weight example on real data
	@$(BIN)/headrace run static --problem examples/natality/natality.py --data $(BIRTHS) --root $(OUT)/natality

run-serving: $(READY) $(BIRTHS) ## serve under load: a better canary, one that turns bad, a table; two minutes, and a page
	@$(BIN)/python examples/serving/run.py --output $(OUT)/serving

FLIGHTS := $(OUT)/flights.parquet

run-stream: $(READY) $(FLIGHTS) ## score a stream of flights: a drift, an alarm, a new version as an event; minutes, and a page
	@$(BIN)/python examples/stream/run.py --flights $(FLIGHTS) --output $(OUT)/stream

# Fetched once.
$(FLIGHTS): | $(READY)
	@$(BIN)/python examples/flight_time/fetch.py $@

# Fetched once (50 MB, most of it other tables): its license, GPL-3, is not the repository's.
$(BIRTHS): | $(READY)
	@$(BIN)/python examples/natality/fetch.py

stop: $(READY) ## stop the endpoint that `make run` started
	@$(BIN)/headrace endpoint stop $(OUT)/natality/endpoints/natality

test: $(READY) lint types ## lint, type check and run all tests
	@$(BIN)/python -m pytest --numprocesses auto --dist loadfile

# Rounds of some minutes each; no round starts after the time is up.
MINUTES ?= 30
fuzz: $(READY) ## run the property tests on new random examples, for MINUTES=30
	@end=$$(( $$(date +%s) + 60 * $(MINUTES) )); while [ $$(date +%s) -lt $$end ]; do \
		$(BIN)/python -m pytest --numprocesses auto --dist load -m hypothesis --hypothesis-profile fuzz --timeout 1800 || exit; \
	done

soak: $(READY) ## run the tests that take minutes: simulations and load
	@$(BIN)/python -m pytest --numprocesses auto --dist load -m soak --timeout 3600

lint: $(READY) ## check style, which package may import which, and that docs/reference.md is what the code says
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .
	@PYTHONPATH=typings $(BIN)/lint-imports --no-logo --no-cache
	@$(BIN)/python docs/generate_reference.py --check

types: $(READY) ## check types
	@$(BIN)/mypy -p headrace
	@$(BIN)/mypy cloudbuild containers

format: $(READY) ## format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: $(READY) ## write docs/reference.md from the code
	@$(BIN)/python docs/generate_reference.py

bench: $(READY) ## run all benchmarks with their peers, and write docs/performance.md
	@$(BIN)/python benchmarks/run_all.py

images: ## build the container images that the local engine can build: all, or IMAGES="beam server"
	@$(PYTHON) containers/build.py $(IMAGES)

clean: ## remove the environment and all results
	rm -rf $(VENV) $(OUT) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
