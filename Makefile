# Two commands do everything on a fresh machine: `make demo` and `make test`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8080
BUILT_FROM := pyproject.toml setup.py $(wildcard service/express/*.[ch])

.PHONY: demo test serve bench pins sbom clean

# Train on the airline passengers, prove parity, serve, ask once, stop.
demo: $(VENV)/.demo
	$(BIN)/gatecast train airline
	@docs/demo $(BIN) $(PORT)

# Lint, types, and every test. They start hundreds of servers: each would compile its sources anew
# on a machine that keeps no bytecode.
test: export PYTHONDONTWRITEBYTECODE :=
test: $(VENV)/.test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/pytest --numprocesses auto --dist worksteal

# Serve what is in models/ until interrupted.
serve: $(VENV)/.demo
	$(BIN)/gatecast serve --port $(PORT)

# Speed as ratios measured in one run.
bench: $(VENV)/.test
	$(BIN)/python -m benchmarks.serving

# What an image installs, anew: the newest that pyproject.toml allows, each with its hashes.
COMPILE := uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --upgrade
BESIDE := --extra arrow --extra otel --extra postgres --extra store
pins: $(VENV)/.test
	$(BIN)/$(COMPILE) pyproject.toml --extra cpu $(BESIDE) --output-file docker/requirements-cpu.txt
	$(BIN)/$(COMPILE) pyproject.toml --extra gpu $(BESIDE) --output-file docker/requirements-gpu.txt
	$(BIN)/$(COMPILE) docker/build.in --output-file docker/requirements-build.txt

# A bill of materials of this environment in CycloneDX; an image has its own at /opt/gatecast/sbom.json.
sbom: $(VENV)/.test
	mkdir -p dist
	$(BIN)/cyclonedx-py environment --output-reproducible --output-file dist/sbom.json $(BIN)/python

clean:
	rm -rf $(VENV) dist build *.egg-info service/express/*.so

$(VENV)/bin/pip:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.demo: $(BUILT_FROM) | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable '.[cpu,train]'
	touch $@

$(VENV)/.test: $(BUILT_FROM) | $(VENV)/bin/pip
	$(BIN)/pip install --quiet --editable '.[cpu,train,dev]'
	touch $@ $(VENV)/.demo
