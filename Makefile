# The same targets on a laptop and in CI. `make help` lists them.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
# `make env` is eval'ed, also from within another make, whose habit of naming its folder would be eval'ed with it.
MAKEFLAGS += --no-print-directory

PYTHON ?= python3
VENV := .venv
IN := $(VENV)/bin
PACKAGES := operator services/core services/preprocess services/train services/infer
SOURCES := operator/src services/core/src services/preprocess/src services/train/src services/infer/src
CLUSTER_TOOL := $(PYTHON) tests/cluster
# Folders of the CRDs and of the reference pages, both made from the models.
GENERATED := charts/windlass/files/crds docs/reference
# A file of tests stays together, because its fixtures cost more than its tests. A process of the run that dies ends the run and
# is named; replaced, the run may wait for ever for tests that nobody has.
ON_ALL_CORES := --numprocesses=auto --maxprocesses=8 --dist=loadfile --max-worker-restart=0
# Puts kubectl, helm and the cluster's KUBECONFIG into the shell of a recipe.
WITH_CLUSTER := eval "$$($(CLUSTER_TOOL) env)" &&

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

##@ Use

.PHONY: up
up: $(VENV)/.quickstart ## From a fresh machine to a prediction: cluster, images, chart, example
	@$(CLUSTER_TOOL) up --images
	@$(WITH_CLUSTER) $(PYTHON) examples/quickstart.py --images "$$($(CLUSTER_TOOL) images-file)" --python $(IN)/python

.PHONY: down
down: ## End the cluster and all that it left on the machine; caches stay
	@$(CLUSTER_TOOL) down

.PHONY: env
env: ## Print shell code to eval: KUBECONFIG, and kubectl and helm on the PATH
	@$(CLUSTER_TOOL) env

.PHONY: images
images: ## Build and push the images whose content changed
	@$(CLUSTER_TOOL) images

##@ Check

.PHONY: check
check: $(VENV)/.dev ## Lint, types, import directions, generated files current
	$(IN)/ruff check .
	$(IN)/ruff format --check .
	$(IN)/mypy $(SOURCES) examples/quickstart.py
	MYPYPATH=tests/support $(IN)/mypy tests/support tests/e2e tests/fuzz
	MYPYPATH=tests/cluster $(IN)/mypy tests/cluster
	MYPYPATH=bench:tests/support $(IN)/mypy bench
	$(IN)/lint-imports
	$(IN)/python -m windlass_core.crd --check $(GENERATED)
	$(IN)/python -m windlass_infer.grpc.generate --check

.PHONY: test
test: check unit chart e2e ## Everything: check, unit, chart and end-to-end tests

.PHONY: unit
unit: $(VENV)/.dev ## Tests that need no cluster
	@$(CLUSTER_TOOL) binaries
	$(WITH_CLUSTER) $(IN)/pytest $(ON_ALL_CORES) tests --ignore=tests/e2e --ignore=tests/charts

.PHONY: fuzz
fuzz: $(VENV)/.dev ## Ask the infer service 100,000 damaged requests, and what its OpenAPI document allows
	$(IN)/python tests/fuzz

.PHONY: chart
chart: $(VENV)/.dev ## Tests of the chart: lint, render, schema, pod security
	@$(CLUSTER_TOOL) binaries
	$(WITH_CLUSTER) $(IN)/pytest tests/charts

.PHONY: e2e
e2e: $(VENV)/.dev ## End-to-end tests on the running cluster; brings one up if there is none
	@$(CLUSTER_TOOL) up --images
	$(WITH_CLUSTER) WINDLASS_IMAGES="$$($(CLUSTER_TOOL) images-file)" $(IN)/pytest tests/e2e

.PHONY: bench
bench: $(VENV)/.dev ## Benchmarks on the running cluster: ratios against baselines of the same run
	@$(CLUSTER_TOOL) up --images
	$(WITH_CLUSTER) $(IN)/python bench/loop.py
	$(WITH_CLUSTER) $(IN)/python bench/status.py
	$(WITH_CLUSTER) $(IN)/python bench/promotion.py
	$(WITH_CLUSTER) $(IN)/python bench/rollout.py

.PHONY: bench-serving
bench-serving: $(VENV)/.dev ## Benchmark of the infer service beside other servers; needs no cluster, takes an hour and a half
	PYTHONPATH=bench $(IN)/python -m serving

##@ Maintain

.PHONY: generate
generate: $(VENV)/.dev ## Write what is generated: CRDs, the field reference, the messages of gRPC
	$(IN)/python -m windlass_core.crd $(GENERATED)
	$(IN)/python -m windlass_infer.grpc.generate

.PHONY: format
format: $(VENV)/.dev ## Format the code
	$(IN)/ruff check --fix .
	$(IN)/ruff format .

.PHONY: constraints
constraints: $(VENV)/.dev ## Resolve the newest versions within the ranges into constraints.txt
	@{ grep '^#' constraints.txt; \
	   printf '%s\n' uv hatchling "windlass-core[store,serving] @ file://$(CURDIR)/services/core" \
	     "windlass-preprocess[run] @ file://$(CURDIR)/services/preprocess" "windlass-train @ file://$(CURDIR)/services/train" \
	     "windlass-infer[telemetry] @ file://$(CURDIR)/services/infer" "windlass-operator @ file://$(CURDIR)/operator" \
	   | $(IN)/uv pip compile --quiet --upgrade --python-version 3.11 --group quickstart --group dev --no-header --no-annotate - \
	   | grep -v '^windlass'; } > constraints.txt.new
	@mv constraints.txt.new constraints.txt

.PHONY: clean
clean: ## Remove the virtual environment and tool caches of this folder
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .import_linter_cache

# Only what changes the environment makes it again; its stamps live inside it. One that was cut short is begun anew.
$(VENV)/.made: constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Windlass needs Python 3.11 or later; $(PYTHON) is $$($(PYTHON) --version). Set PYTHON=..." >&2; exit 1; }
	@echo "==> Making $(VENV)"
	@$(PYTHON) -m venv $$(test -e $@ || echo --clear) $(VENV) || { echo "Python's venv module is missing; on Debian: apt-get install python3-venv" >&2; exit 1; }
	@rm -f $@
	@$(IN)/pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	@touch $@

# In a variable, because a comma would end an argument of `call`.
EDITABLE := operator services/core[store,serving] services/preprocess[run] services/train services/infer[telemetry]

# Packages that a killed installer left half there pass for installed ones, so the next one installs all of them again.
define install
@again=$$(test ! -e $(VENV)/.unfinished || echo --reinstall); touch $(VENV)/.unfinished; \
  $(IN)/uv pip install --quiet $$again --python $(IN)/python --constraint constraints.txt --group quickstart $(1)
@rm $(VENV)/.unfinished
@touch $@
endef

$(VENV)/.quickstart: $(VENV)/.made pyproject.toml constraints.txt
	@echo "==> Installing scikit-learn, which ships the example's data, into $(VENV)"
	$(call install)

$(VENV)/.dev: $(VENV)/.made pyproject.toml constraints.txt $(addsuffix /pyproject.toml,$(PACKAGES))
	@echo "==> Installing what checks and tests need into $(VENV) (torch among it: 4.7 GB, about a minute)"
	$(call install,--group dev $(foreach package,$(EDITABLE),--editable "$(package)"))
