# Everything is done inside the clone: the environment in .venv, results in .out.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
# Made when the environment has what the example needs, and when it has all that tests need.
RUNS := $(VENV)/.runs
READY := $(VENV)/.ready
INSTALLED := pyproject.toml setup.py constraints.txt tools/install.py $(wildcard core/tfrecord/*.[ch])
OUT := .out

.DEFAULT_GOAL := help
.PHONY: help setup run run-serving run-dynamic run-stream stop test fuzz soak lint types format docs bench images locks clean

help: ## show this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

setup: $(READY) ## make the environment in .venv (other targets do it where it is missing)

# Neither depends on the other, so that a clone in which both are out of date installs once.
$(RUNS): $(INSTALLED)
	@echo "Installing what the example needs into $(VENV), once; \`make test\` adds what tests need."
	@$(PYTHON) tools/install.py $(VENV) beam train serve report
	@touch $@

$(READY): $(INSTALLED)
	@echo "Installing everything into $(VENV), once; this takes some minutes."
	@$(PYTHON) tools/install.py $(VENV) dev
	@touch $(RUNS) $@

BIRTHS := examples/natality/births.csv

run: $(RUNS) $(BIRTHS) ## train, evaluate and deploy the birth-weight example on real data
	@$(BIN)/headrace run static --problem examples/natality/natality.py --data $(BIRTHS) --root $(OUT)/natality

run-serving: $(RUNS) $(BIRTHS) ## serve under load: a better canary, one that turns bad, a table; two minutes, and a page
	@$(BIN)/python examples/serving/run.py --output $(OUT)/serving

FLIGHTS := $(OUT)/flights.parquet

run-dynamic: $(READY) $(FLIGHTS) ## train again as data arrives: two weeks of flights in minutes, with bad days; and a page
	@$(BIN)/python examples/dynamic/run.py --output $(OUT)/dynamic

run-stream: $(READY) $(FLIGHTS) ## score a stream of flights: a drift, an alarm, a new version as an event; minutes, and a page
	@$(BIN)/python examples/stream/run.py --flights $(FLIGHTS) --output $(OUT)/stream

# Fetched once.
$(FLIGHTS): | $(READY)
	@$(BIN)/python examples/flight_time/fetch.py $@

# Fetched once (50 MB, most of it other tables): its license, GPL-3, is not the repository's.
$(BIRTHS): | $(RUNS)
	@$(BIN)/python examples/natality/fetch.py

stop: $(RUNS) ## stop the endpoint that `make run` started
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
	@$(BIN)/mypy cloudbuild containers tools

format: $(READY) ## format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: $(READY) ## write docs/reference.md from the code
	@$(BIN)/python docs/generate_reference.py

bench: $(READY) ## run all benchmarks with their peers, and write docs/performance.md
	@$(BIN)/python benchmarks/run_all.py

images: ## build the container images that the local engine can build: all, or IMAGES="beam server"
	@$(PYTHON) containers/build.py $(IMAGES)

locks: $(READY) ## resolve the packages of the images again, with the hashes of their files
	@$(BIN)/python containers/lock.py

clean: ## remove the environment and all results
	rm -rf $(VENV) $(OUT) build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
