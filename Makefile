# `make` alone lists the commands. A fresh machine needs Python 3.11 to 3.13, make and git.

PYTHON ?= python3
PROFILE ?=
NB ?= 02-PEFT/Falcon-7B-LoRA.ipynb
CONFIG ?= ddp
NPROC ?=
NOTEBOOKS = $(wildcard 0*-*/*.ipynb)
SECTIONS = foundations peft instruction-tuning reasoning-tuning

POETRY_VERSION = 2.5.1
MIRROR_PLUGIN_VERSION = 0.6.5
# Poetry from the PATH, else a pinned one in a folder of its own. Its plugin makes it follow the package index that
# pip is configured for, so that mirrors and proxies work without a second configuration.
OWN_POETRY = .poetry/bin/poetry
POETRY := $(or $(shell command -v poetry 2>/dev/null),$(OWN_POETRY))
PIP_INDEX = $$($(PYTHON) -m pip config get global.index-url 2>/dev/null || $(PYTHON) -c "from pip._internal.models.index import PyPI; print(PyPI.simple_url)")
export POETRY_VIRTUALENVS_IN_PROJECT = true
# Containers often set it, and then every start of Python compiles torch and transformers anew.
unexport PYTHONDONTWRITEBYTECODE
RUN = .venv/bin/python
INSTALL = POETRY_PYPI_MIRROR_URL="$${POETRY_PYPI_MIRROR_URL:-$(PIP_INDEX)}" $(POETRY) install --no-interaction --quiet

.DEFAULT_GOAL := help
.PHONY: help python install $(SECTIONS:%=install-%) install-all install-test weights demo lab run train outputs test test-gpu \
	bench tables tiny-model data clean

help: ## list the commands
	@grep -hE '^[a-z%-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z%-]+):.*## /\1\t/' | \
		awk -F '\t' '{ printf "  make %-28s %s\n", $$1, $$2 }'

python: # stops early, with a sentence, where the interpreter cannot work
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(0 if (3, 11) <= v < (3, 14) else "error: Python %d.%d is too " % v + ("old" if v < (3, 11) else "new") + ": the course runs on 3.11 to 3.13. Install one of them and name it: make PYTHON=python3.12 ...")'
	@$(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || { echo "error: this Python cannot make virtual environments; on Debian and Ubuntu: apt install python3-venv" >&2; exit 1; }

$(OWN_POETRY): | python
	@echo "Setting up Poetry $(POETRY_VERSION) in .poetry ..."
	@rm -rf .poetry && $(PYTHON) -m venv .poetry
	@.poetry/bin/python -m pip install --quiet --disable-pip-version-check poetry==$(POETRY_VERSION) \
		poetry-plugin-pypi-mirror==$(MIRROR_PLUGIN_VERSION) 2>.poetry/install.log \
		|| { cat .poetry/install.log >&2; rm -rf .poetry; echo "error: Poetry could not be installed; see SETUP.md, 'Proxies and mirrors'." >&2; exit 1; }

.venv/bin/python: $(if $(filter $(OWN_POETRY),$(POETRY)),$(OWN_POETRY)) | python
	@$(POETRY) env use --quiet $(PYTHON)

ANNOUNCE = [ -e .venv/installed ] || echo "Installing packages (first time: about 3 GB to download, 6 GB on disk) ..."

install: .venv/bin/python ## what every section needs, JupyterLab included
	@$(ANNOUNCE)
	@$(INSTALL) && touch .venv/installed

# Beside what is there; nothing is removed. Not a plain pattern rule: make does not look for one for phony targets.
$(SECTIONS:%=install-%): install-%: .venv/bin/python
	@$(ANNOUNCE)
	@$(INSTALL) --with $* && touch .venv/installed

install-foundations: ## what 01-Foundations needs
install-peft: ## what 02-PEFT needs
install-instruction-tuning: ## what 03-Instruction-Tuning needs
install-reasoning-tuning: ## what 04-Reasoning-Tuning needs

install-all: .venv/bin/python ## all sections and the tests
	@$(ANNOUNCE)
	@$(INSTALL) --with foundations,peft,instruction-tuning,reasoning-tuning,test && touch .venv/installed

weights: install-peft # fetches the model of profile small ahead
	@if [ "$(PROFILE)" = "" ] || [ "$(PROFILE)" = small ]; then $(RUN) -m shared.models || true; fi

demo: weights ## fine-tune a real model, and show before and after (PROFILE=tiny: no network after set-up)
	@$(RUN) -m shared.run 02-PEFT/Falcon-7B-LoRA.ipynb --summary

lab: install-peft ## open JupyterLab
	@.venv/bin/jupyter lab

run: install-peft ## run one notebook headless: make run NB=02-PEFT/Falcon-7B-LoRA.ipynb [PROFILE= DATASET= ...]
	@$(RUN) -m shared.run "$(NB)" --summary

train: install-peft ## a notebook's training cells in several processes: make train NB=... CONFIG=ddp|fsdp|fsdp_qlora|cpu2 NPROC=4
	@$(RUN) -m shared.launch "$(NB)" --config "$(CONFIG)" $(if $(NPROC),--processes $(NPROC))

outputs: weights ## store the outputs of a clean run in the notebook: make outputs NB=...
	@PROFILE=small $(RUN) -m shared.run "$(NB)" --in-place

test: install-all ## set-up, lint, unit tests, every notebook on profile tiny
	@$(RUN) -m ruff check --quiet . && $(RUN) -m ruff format --check --quiet .
	@PROFILE=tiny HF_HUB_OFFLINE=1 OMP_NUM_THREADS=1 $(RUN) -m pytest -q -n 2 --dist loadfile --nbval-lax --nbval-cell-timeout=120 tests $(NOTEBOOKS)

test-gpu: install-all ## every notebook on profile full, on a GPU
	@PROFILE=full $(RUN) -m pytest -q --nbval-lax --nbval-cell-timeout=3600 $(NOTEBOOKS)

bench: install-all ## memory and speed of Falcon-7B on a GPU; without one, ratios on the small models
	@HF_DATASETS_DISABLE_PROGRESS_BARS=1 $(RUN) -m tests.benchmarks

tables: install ## write the tables of the pages anew from the receipts
	@$(RUN) -m shared.receipts

data: install ## make the demo task's files anew (same seed, same files)
	@$(RUN) -m shared.data make

tiny-model: install ## pretrain falcon-tiny anew
	@$(RUN) -m shared.models.tiny

clean: ## remove what runs left behind
	@rm -rf runs .pytest_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -not -path './.poetry/*' -prune -exec rm -rf {} +
