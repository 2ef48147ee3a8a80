# Two commands matter: `make book` builds the book, `make test` proves it. `make help` lists the rest.
PYTHON ?= python3

VENV := .venv
RUN := $(VENV)/bin/python
COVERAGE := $(RUN) -m coverage
JUPYTER_BOOK := $(VENV)/bin/jupyter-book
INDEX := book/_build/html/index.html

# Two notebooks train and evaluate. The others are the pages, which read records and nothing else.
COMPUTE := notebooks/train.ipynb notebooks/evaluate.ipynb
PAGES := $(filter-out $(COMPUTE),$(sort $(wildcard notebooks/*.ipynb)))
# What a page is made from; the folders are there to notice a record that was taken away.
SOURCES := $(wildcard lib/siam/*.* lib/siam/live/*.py lib/siam/claims/*.py lib/siam/pages/*.py data/paper/* data/results/* data/results/*/*.json data/results/*/*.npz data/checkpoints/*.safetensors data/sample/*)
RENDERED := $(PAGES:notebooks/%.ipynb=$(VENV)/rendered/%)
# The status of the campaign needs torch: it is rendered where there is one.
RENDERED += $(if $(wildcard $(VENV)/dev),$(VENV)/rendered/campaign)

# Where the compute notebooks write when they are only tried: beside the data, not into it.
TRIED := $(VENV)/tried
SMOKE := rm -rf $(TRIED) && mkdir -p $(TRIED) && cp -r data/checkpoints $(TRIED) && SIAM_DATA=$(TRIED)

export MPLBACKEND := agg
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help book test try lab data campaign campaign-script env env-dev env-lab env-campaign engine render html pictures clean
.DELETE_ON_ERROR:

help:  ## list what can be made
	@awk -F ':[^#]*## ' '/^[a-z-]+:[^#]*## / {printf "%-17s%s\n", $$1, $$2}' $(MAKEFILE_LIST)

book: render  ## install, re-render the pages from the records, build the book
	@$(MAKE) html
	@echo "open $(CURDIR)/$(INDEX)"

# A process a core, each with one thread: more would wait for each other at every layer of a network.
test: export OMP_NUM_THREADS = 1
test: env-dev html  ## install everything, run every test and notebook, print the coverage
	$(COVERAGE) erase
	$(COVERAGE) run -m pytest -n auto --dist loadfile --no-loadscope-reorder tests
	$(COVERAGE) combine -q
	$(RUN) -m pytest -n auto --dist loadfile --nbval --nbval-current-env $(PAGES)
	$(SMOKE) $(RUN) -m pytest --nbval-lax --nbval-current-env $(COMPUTE)
	$(COVERAGE) report

lab: env-lab  ## open the notebooks in JupyterLab
	$(VENV)/bin/jupyter lab notebooks

data: env  ## fetch and verify CIFAR-10 (only training and new evaluations need it)
	$(RUN) -m siam.cifar10

try: env-dev  ## run train and evaluate on the shipped sample and keep what they print
	$(SMOKE) $(RUN) -m siam.book render $(COMPUTE)

campaign: env-campaign  ## carry out what the campaign has left (TIER=cpu or TIER=fast,paper), then render
	PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(RUN) -m snakemake $(if $(TIER),--config tiers=$(TIER))

campaign-script:  ## print its next MINUTES=25 as a bash script (TIER=… or, without, this machine's)
	@$(MAKE) -s env-dev >&2  # what it prints is no part of the script
	@$(RUN) -m siam.campaign script --minutes $(or $(MINUTES),25) $(if $(TIER),--tier $(TIER))

# The pages that are tracked show the records that are tracked, whatever folder a run of one's own writes to.
html $(RENDERED) $(VENV)/rendered/readme: export SIAM_DATA =

render: $(RENDERED) $(VENV)/rendered/readme  ## re-render the notebooks whose records, code or text changed
html: env  ## build the book as the notebooks stand
	$(JUPYTER_BOOK) build book/ --all -W --keep-going

env: $(VENV)/book  ## the book's environment, no torch
env-dev: $(VENV)/dev  ## that, with torch and the tests
env-lab: $(VENV)/lab  ## that, with JupyterLab
env-campaign: $(VENV)/campaign  ## the tests' environment, with Snakemake

engine: env-dev  ## compile the live page's engine to WebAssembly
	$(RUN) -m siam.live.build

pictures: env-dev html  ## shoot the pictures of the README and of the first page
	$(RUN) tests/pictures.py

clean:  ## remove the built book (the environment: rm -r .venv)
	rm -rf book/_build

# A virtual environment, also where Python comes without ensurepip (Debian): then its pip is borrowed once.
$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11, 5) <= sys.version_info < (3, 15))' || \
		{ echo "error: Python 3.11.5 to 3.14 is needed, and $(PYTHON) is $$($(PYTHON) --version 2>&1): give another, make PYTHON=python3.12 …"; exit 1; }
	$(PYTHON) -m venv $(VENV) 2>/dev/null || \
		{ $(PYTHON) -m venv --clear --without-pip $(VENV) && $(PYTHON) -m pip --python $(RUN) install pip; }

$(VENV)/book: requirements.txt pyproject.toml | $(VENV)/bin/python
	$(RUN) -m pip install -q -r requirements.txt
	$(RUN) -m pip install -q --no-deps --no-build-isolation -e .
	touch $@

$(VENV)/dev: requirements-dev.txt $(VENV)/book
	$(RUN) -m pip install -q -r requirements-dev.txt
	touch $@

$(VENV)/lab: requirements-lab.txt $(VENV)/book
	$(RUN) -m pip install -q -r requirements-lab.txt
	touch $@

$(VENV)/campaign: requirements-campaign.txt $(VENV)/dev
	$(RUN) -m pip install -q --no-deps -r requirements-campaign.txt
	touch $@

$(VENV)/rendered/readme: README.md book/intro.md book/overview.html book/differences.md data/checkpoints/README.md $(SOURCES) $(VENV)/book
	$(RUN) -m siam.book readme
	@mkdir -p $(@D)
	@touch $@

$(VENV)/rendered/campaign: workflow/README.md workflow/campaign.yaml $(COMPUTE) $(SOURCES) data/checkpoints $(VENV)/dev
	$(RUN) -m siam.campaign readme
	@mkdir -p $(@D)
	@touch $@

$(VENV)/rendered/%: notebooks/%.ipynb $(SOURCES) $(VENV)/book
	$(RUN) -m siam.book render $<
	@mkdir -p $(@D)
	@touch $@
