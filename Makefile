# `make install` sets up everything in .venv, and every other target does so first; only Python 3.10+ and git have to be there.
SHELL := /bin/bash
.SHELLFLAGS := -o pipefail -c
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
# On Linux, the package index serves PyTorch with CUDA. For the smaller build without:
#   make quickstart TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX ?=
TORCH_FLAGS := $(if $(TORCH_INDEX),--index-url $(TORCH_INDEX),)
READY := $(VENV)/.ready
PIP = $(BIN)/python -m pip install --disable-pip-version-check
SHOWN = --progress-bar raw | $(PYTHON) tools/pip_progress.py

.DEFAULT_GOAL := help
.PHONY: help install bench bench-long bench-informed bench-smoke docs-check quickstart reviews finetune-report lineage alignment engines serving test test-slow test-gpu test-browser test-matrix conformance smollm2 planning scaling faults fuzz soak audit data distributed stream docs notebooks quality style figure readme lock wheel clean

help:  ## Show what can be made
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  %-14s %s\n", $$1, $$2}'

install: $(READY)  ## Set up .venv, some minutes, and say what comes next
	@printf '\nhf-gpt is in $(VENV). So that this shell finds the command:\n\n    source $(BIN)/activate\n\nThen train a model:\n\n    make quickstart\n\n'

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("hf-gpt needs Python 3.10 or later, and $(PYTHON) is %d.%d: make install PYTHON=python3.12" % sys.version_info[:2] if sys.version_info < (3, 10) else 0)'
	@echo "1/4  The virtual environment $(VENV): seconds"
	@$(PYTHON) -m venv $(VENV) && $(PIP) --quiet --upgrade pip
	@echo "2/4  PyTorch$(if $(TORCH_INDEX), from $(TORCH_INDEX),: 3 GB with CUDA on Linux and 100 to 200 MB elsewhere; 200 MB without CUDA by TORCH_INDEX, see Makefile)"
	@$(PIP) torch==2.13.0 $(TORCH_FLAGS) $(SHOWN)
	@echo "3/4  The other packages: 300 MB, one to three minutes"
	@$(PIP) -r requirements.lock $(SHOWN)
	@echo "4/4  hf-gpt itself: seconds"
	@$(PIP) --quiet --no-deps --editable .
	@touch $(READY)

quickstart: $(READY)  ## The main job: film reviews to a trained model with a measured card, about ten minutes on two cores
	$(BIN)/hf-gpt train recipes/pretrain/quickstart.yaml $(ARGS)

reviews: $(READY)  ## The same with about an hour of training
	$(BIN)/hf-gpt train recipes/pretrain/reviews.yaml

# Two at a time, each of a test's processes on one core.
PYTEST := $(BIN)/python -m pytest tests -n 2 --dist worksteal

test: $(READY)  ## The test suite, without network
	$(PYTEST) -m 'not slow' $(ARGS)

test-slow: $(READY)  ## What the suite leaves out: longer runs, more processes, the default compiler
	$(PYTEST) -m slow $(ARGS)

test-gpu: $(READY)  ## On one GPU, three minutes: every generation as on the processor, caches, packing, an exact resume, the quickstart
	$(BIN)/python -m pytest tests/gpu -k 'cuda or waits' $(ARGS)

test-browser: $(READY)  ## The demo page and the site in headless Chromium, which Debian's apt-get installs, and the site as it is built
	command -v chromium > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium fonts-dejavu-core; }
	$(PIP) --quiet gradio==6.31.0 playwright==1.65.2 'hf-gpt[docs]'
	$(BIN)/python -m pytest tests/browser tests/meta/test_site.py

# transformers/torch; each pair gets an environment of its own, with what that transformers asks for.
MATRIX ?= 5.17.0/2.11.0 5.17.0/2.13.0 5.24.0/2.11.0 5.24.0/2.13.0

test-matrix:  ## Model, parity, conversion and generation tests on the oldest and the newest transformers and torch
	@set -e; for pair in $(MATRIX); do \
		venv=.venv-matrix/$$pair; echo "== transformers/torch $$pair"; \
		[ -x $$venv/bin/python ] || $(PYTHON) -m venv $$venv; \
		$$venv/bin/python -m pip install --quiet torch==$${pair#*/} $(TORCH_FLAGS); \
		$$venv/bin/python -m pip install --quiet transformers==$${pair%/*} torch==$${pair#*/} --editable '.[dev]'; \
		$$venv/bin/python -m pytest tests/modeling tests/parity tests/conversion tests/generation; \
	done

finetune-report: $(READY)  ## Fine-tune every packaged recipe from SmolLM2-135M, two to three hours on two cores with bfloat16; writes benchmarks/records and docs/finetuning.md
	$(BIN)/python -m experiments finetune

lineage: $(READY)  ## From n-grams to a modern GPT, about an hour and a half on two cores; writes benchmarks/records/lineage and docs/lineage.md
	$(BIN)/python -m experiments lineage

alignment: $(READY)  ## From a model that continues to one that answers, about an hour on two cores with bfloat16; writes benchmarks/records/alignment and docs/lineage.md
	$(BIN)/python -m experiments alignment

conformance: $(READY)  ## transformers' own model tests over every architecture and head; writes tests/conformance/record.json
	$(PIP) --quiet parameterized
	$(BIN)/python -m tests.conformance --record

engines: $(READY)  ## Score with lm-eval, train on an int8 base of torchao: what other tools make of our models
	$(PIP) --quiet lm-eval==0.4.13 torchao==0.18.0
	$(BIN)/python -m pytest tests/engines


bench: $(READY)  ## Speed beside other ways to train, step time, memory, generation; writes benchmarks/RESULTS.md; hours on a quiet machine
	$(PIP) --quiet torchao==0.18.0 llama-cpp-python==0.3.36
	for name in speed ablations tokenisation step_time loss_memory generation startup gpu results; do \
		$(BIN)/python -m benchmarks $$name || exit 1; done
bench-long: $(READY)  ## The first two rows of the speed table again, with an hour for the peer
	$(BIN)/python -m benchmarks speed --long
	$(BIN)/python -m benchmarks results

bench-informed: $(READY)  ## The same race against peers that are given our learning rates and schedule, or Muon, and one seed on poems; three hours on two cores
	$(BIN)/python -m benchmarks speed --informed
	$(BIN)/python -m benchmarks speed --poems
	$(BIN)/python -m benchmarks results

bench-smoke: $(READY)  ## Every part of benchmarks, experiments and reliability with next to nothing to do: that it runs, not how fast
	for place in benchmarks experiments reliability; do $(BIN)/python -m $$place --smoke || exit 1; done

docs-check: $(READY)  ## Whether every table of every page is what the committed records say
	$(BIN)/python -m benchmarks --check-pages

docs: $(READY)  ## The site of docs/, README and the code in two languages, into build/site; without a network once its packages are there
	$(PIP) --quiet 'hf-gpt[docs]'
	$(BIN)/python -m tools.website
	@printf '\nTo read it:\n\n    $(BIN)/python -m http.server --directory build/site\n\n'

notebooks: $(READY)  ## Run the notebooks from their text form and store them with outputs, about half an hour on two cores
	$(PIP) --quiet jupytext==1.19.6 nbclient==0.11.0 ipykernel==7.4.0
	PATH="$(abspath $(BIN)):$$PATH" $(BIN)/python tools/run_notebooks.py $(ARGS)
	$(BIN)/python -m pytest tests/meta/test_notebooks.py -m 'not slow'

serving: $(READY)  ## Small models in some twenty engines and tools; writes benchmarks/records/serving and docs/serving.md; 6 GB of environments
	$(PIP) --quiet onnx onnxscript onnxruntime
	$(BIN)/python -m experiments serving
	$(BIN)/python -m pytest tests/meta/test_docs.py -k serving

smollm2: $(READY)  ## A real Llama of 135M parameters in, out and compared; writes benchmarks/records/smollm2.json
	$(BIN)/python -m experiments smollm2

faults: $(READY)  ## kill -9 at 30 random moments, then every other fault; writes benchmarks/records and docs/reliability.md
	$(BIN)/python -m reliability fault_cases
	$(BIN)/python -m reliability faults
fuzz: $(READY)  ## 10,000 random configs, and recipes, texts and files that are broken at random; writes benchmarks/records/fuzz.json
	$(BIN)/python -m reliability fuzz
	$(BIN)/python -m reliability faults --pages

audit: $(READY)  ## Known weaknesses of the locked dependencies, asked of PyPI: needs the network
	$(PIP) --quiet pip-audit
	$(BIN)/pip-audit --strict --no-deps --disable-pip -r requirements.lock

soak: $(READY)  ## An hour of training and 10,000 calls of generate; writes benchmarks/records/soak.json and docs/soak.png
	$(BIN)/python -m reliability soak

scaling: $(READY)  ## Train one recipe at five sizes and fit how the loss falls; writes benchmarks/records/scaling.json and docs/scaling.md
	$(BIN)/python -m experiments scaling

planning: $(READY)  ## Compare what `hf-gpt plan` says with runs here; writes benchmarks/records/planning.json and docs/scaling.md
	$(BIN)/python -m experiments planning

data: $(READY)  ## Every data package fetched, read and counted; writes benchmarks/records/data.json and docs/data.md
	$(BIN)/python -m experiments data

distributed: $(READY)  ## One recipe on one process and on several, in every way of recipes/accelerate; writes benchmarks/records/distributed.json
	$(BIN)/python -m experiments distributed

stream: $(READY)  ## One pass over a file of 2 GB in bounded memory; writes benchmarks/records/stream.json
	$(BIN)/python -m reliability stream

CODE := src tests benchmarks experiments reliability tools

quality: $(READY)  ## Lint, format check, layers and types
	$(BIN)/ruff check $(CODE)
	$(BIN)/ruff format --check $(CODE)
	$(BIN)/lint-imports
	$(BIN)/mypy

style: $(READY)  ## Format the code
	$(BIN)/ruff check --fix $(CODE)
	$(BIN)/ruff format $(CODE)

figure: $(READY)  ## Draw docs/generations.svg from the presets
	$(BIN)/python -m benchmarks figure

readme: $(READY)  ## Write the figures of the READMEs from the records in model_cards/
	$(BIN)/python -m benchmarks readme

lock: $(READY)  ## Renew requirements.lock from pyproject.toml
	$(PIP) --quiet uv
	$(BIN)/uv pip compile --quiet --universal --fork-strategy requires-python --python-version 3.10 --extra dev --no-header \
		--no-annotate --no-emit-index-url --no-emit-package torch --constraint requirements.constraints pyproject.toml \
		| grep -vE '^(nvidia|cuda|triton)' > requirements.lock

wheel: $(READY)  ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## Remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .ruff_cache .mypy_cache dist
