# `make help` lists what there is. Everything is installed into .venv; nothing outside this folder is touched.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
GENERATE_VENV := .venv-generate
# What the program needs to run, and that with the tools of tests and checks.
PROGRAM_READY := $(VENV)/.ready-program
READY := $(VENV)/.ready
GENERATE_READY := $(GENERATE_VENV)/.ready
OLD_CLIENTS := .cache/okdata-aws/.ready .cache/okdata-cli/.ready
PROTOS := $(wildcard protos/tracestatus/v1/*.proto)
PIP := PIP_DISABLE_PIP_VERSION_CHECK=1 $(BIN)/python -m pip install --quiet

# Tests and checks start hundreds of processes: what they import is compiled once, also where the environment says not to.
export PYTHONDONTWRITEBYTECODE :=

.DEFAULT_GOAL := help
.PHONY: help setup demo serve test test-protobuf test-browser test-long screenshot faults hostile test-postgres test-pgbouncer check format generate check-generated released bench bench-quick bench-ab bench-peers lock clean

help: ## show this help
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 20

setup: $(READY) ## make the virtual environment (the other targets do it by themselves)

$(PROGRAM_READY): pyproject.toml requirements/constraints.txt
	@echo 'Installing the server and its libraries into $(VENV): once, about 140 MB ...'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --no-compile -c requirements/constraints.txt -e '.[server,http]'
	@touch $@

$(READY): pyproject.toml requirements/dev.txt requirements/constraints.txt
	@echo 'Installing the tools of tests and checks into $(VENV): once, about 700 MB, a minute or two ...'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --no-compile -c requirements/constraints.txt -r requirements/dev.txt -e '.[all]'
	@echo 'Compiling them ...'
	@$(BIN)/python -m compileall -qq -j 0 $(VENV)/lib || true # by all cores; what cannot be compiled is not imported
	@touch $(PROGRAM_READY) $@

demo: $(PROGRAM_READY) ## run a pipeline and follow it to its end, on a server and a database of its own
	@$(BIN)/status-grpc demo

serve: $(PROGRAM_READY) ## run the server on 127.0.0.1:50051 with status-grpc.db in this folder
	$(BIN)/status-grpc serve

# More processes than the two cores that they are made for: many tests wait for something most of the time.
test: ## run all tests
	@$(MAKE) --no-print-directory -j 3 $(READY) $(OLD_CLIENTS)
	$(BIN)/python -m pytest -n 4 --dist worksteal

# The clients of the older status service, as they are published. No environment can have both: okdata-aws 6 wants
# okdata-sdk < 4, okdata-cli 6 wants >= 4.1.
.cache/%/.ready: requirements/%.txt
	rm -rf $(@D)
	$(PYTHON) -m venv $(@D)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(@D)/bin/python -m pip install --quiet --no-compile -r $<
	@touch $@

# The client's suite on a protobuf that callers may have instead of ours: in an environment of its own, on the wheel.
PROTOBUF ?= 6.33
PROTOBUF_VENV = .cache/protobuf-$(PROTOBUF)
test-protobuf: ## run the tests of client and command line on another protobuf (PROTOBUF=6.33)
	$(PYTHON) -m venv $(PROTOBUF_VENV)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(PROTOBUF_VENV)/bin/python -m pip install --quiet -r requirements/dev.txt \
		'protobuf==$(PROTOBUF).*' '.[all]'
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(PROTOBUF_VENV)/bin/python -m pip install --quiet --no-deps --force-reinstall .
	$(PROTOBUF_VENV)/bin/python -m pip list | grep -i -E '^(protobuf|grpcio) '
	$(PROTOBUF_VENV)/bin/pytest -n 2 tests/client tests/cli

test-browser: $(READY) ## run the test of the HTTP edge in a real browser: it needs Chromium, which pip cannot install
	STATUS_GRPC_BROWSER=1 $(BIN)/python -m pytest --timeout 400 tests/http/test_http_browser_needs_chromium.py

test-long: $(READY) ## run the tests that kill the server for a minute or two in their long form, and print what they counted
	STATUS_GRPC_LONG_TESTS=1 $(BIN)/python -m pytest --timeout 400 -rP tests/client/test_client_chaos.py \
		tests/client/test_client_short_processes.py -k 'not outlives'

screenshot: $(READY) ## take the picture of `status-grpc watch` in docs/ anew
	PYTHONPATH=tests $(BIN)/python tests/cli/make_screenshot.py

faults: $(READY) ## run the fault suite in its long form, and print what it counted
	STATUS_GRPC_LONG_TESTS=1 $(BIN)/python -m pytest --timeout 900 -rP tests/faults

hostile: $(READY) ## attack a server as a stranger can, in the long form, alone on the machine, with latencies
	STATUS_GRPC_HOSTILE=1 $(BIN)/python -m pytest --timeout 600 -rP tests/hostile

POSTGRES_BIN ?=
test-postgres: $(READY) ## run what is about PostgreSQL on another one (POSTGRES_BIN=/usr/lib/postgresql/15/bin)
	STATUS_GRPC_TEST_POSTGRES_BIN=$(POSTGRES_BIN) $(BIN)/python -m pytest -n 2 -k postgres tests

PGBOUNCER ?= /usr/sbin/pgbouncer
test-pgbouncer: $(READY) ## run the store's contract behind PgBouncer (PGBOUNCER=/usr/sbin/pgbouncer)
	STATUS_GRPC_TEST_PGBOUNCER=$(PGBOUNCER) $(BIN)/python -m pytest -n 2 tests/storage/test_pgbouncer.py

check: $(READY) check-generated ## format, lint, types, import contracts, protos, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf format --diff --exit-code --path protos/tracestatus
	$(BIN)/buf lint
	$(BIN)/buf breaking --against protos/released.binpb

format: $(READY) ## rewrite code and protos in the project's style
	$(BIN)/ruff check --fix-only --exit-zero .
	$(BIN)/ruff format .
	$(BIN)/buf format --write --path protos/tracestatus

$(GENERATE_READY): requirements/generate.txt
	$(PYTHON) -m venv $(GENERATE_VENV)
	PIP_DISABLE_PIP_VERSION_CHECK=1 $(GENERATE_VENV)/bin/python -m pip install --quiet -r requirements/generate.txt
	@touch $@

# $(1): the folder to generate into.
define protoc
	rm -rf $(1)/tracestatus && mkdir -p $(1)/tracestatus/v1
	PATH="$(CURDIR)/$(GENERATE_VENV)/bin:$$PATH" $(GENERATE_VENV)/bin/python -m grpc_tools.protoc -I protos \
		--python_out=$(1) --pyi_out=$(1) --grpc_python_out=$(1) --mypy_grpc_out=quiet:$(1) $(PROTOS)
	touch $(1)/tracestatus/__init__.py $(1)/tracestatus/v1/__init__.py $(1)/tracestatus/py.typed
endef

generate: $(GENERATE_READY) ## regenerate the Python stubs from the protos
	$(call protoc,generated)

check-generated: $(GENERATE_READY)
	@mkdir -p .cache/generated
	$(call protoc,.cache/generated)
	@diff -r -x __pycache__ .cache/generated/tracestatus generated/tracestatus \
		|| { echo "generated/ is not what 'make generate' makes: run it and commit the result"; exit 1; }

released: $(READY) ## take the protos as they are as what is released: from now on they may only grow
	$(BIN)/buf build --exclude-source-info -o protos/released.binpb

BENCH_READY := $(VENV)/.ready-bench

$(BENCH_READY): $(READY) requirements/bench.txt
	$(PIP) -c requirements/constraints.txt -r requirements/bench.txt
	@touch $@

bench: $(BENCH_READY) ## measure everything beside its baselines; about half an hour (BENCH='--extent long', '--only W1a,W4')
	@mkdir -p .cache
	$(BIN)/python -m benchmarks --json .cache/bench.json $(BENCH)

bench-quick: $(BENCH_READY) ## measure the hot paths in two minutes
	$(BIN)/python -m benchmarks --extent quick --only W1a,W1b,W4 $(BENCH)

BASE ?= HEAD
bench-ab: $(BENCH_READY) ## compare with a commit, both builds in turns (BASE=<commit>, BENCH='--only Update --rounds 20')
	@mkdir -p .cache
	$(BIN)/python -m benchmarks.ab $(BASE) --json .cache/bench-ab.json $(BENCH)

bench-peers: $(BENCH_READY) ## measure beside Prefect and ML Metadata, which are installed in .cache
	$(BIN)/python -m benchmarks --only W10 $(BENCH)

lock: $(READY) ## write the versions installed in .venv to requirements/constraints.txt
	{ echo '# The versions the project was last tested with (make lock).'; \
	  $(BIN)/python -m pip freeze --exclude-editable | grep -v '@'; } > requirements/constraints.txt

clean: ## remove the environments and caches
	rm -rf $(VENV) $(GENERATE_VENV) .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
