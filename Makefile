# make env      the environment, .venv, from requirements.txt
# make results  the embedded experiment, or CONFIG=workflow/config/small.yaml
# make test     the tests
# make lint     what CI checks before the tests
# make tables   tables, figures and report again, from the result files there are
# make new-baseline NAME=mine  start baselines/mine.py
# make compare A=results/one B=results/another  two sets of results side by side
# make reference  keep a run under results/reference/ and refill the tables in the docs

PYTHON ?= python3
VENV := $(CURDIR)/.venv
CONFIG ?= workflow/config/mini.yaml
RESULTS ?= results/$(basename $(notdir $(CONFIG)))
export PATH := $(VENV)/bin:$(PATH)

.PHONY: env results test lint tables compare reference validate new-baseline clean

env: $(VENV)/.made

# torch first: other packages would otherwise choose a build of their own.
$(VENV)/.made: requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' || \
	  { echo "Python 3.11 to 3.13 is needed; name one: make PYTHON=python3.12 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	pip install --quiet $$(grep '^torch==' requirements.txt)
	pip install --quiet -r requirements.txt
	pip install --quiet --no-deps -e .
	touch $@

results: env
	snakemake --cores all --configfile $(CONFIG)

validate: env
	python -m workflow.steps.configuration --config $(CONFIG)

test: env
	python -m pytest

lint: env
	ruff check .
	ruff format --check .
	snakefmt --check Snakefile workflow/rules
	snakemake --lint
	mypy

# Keeps the result files of a run, without its models and data, under results/reference/.
reference: tables
	python -m analysis.keep $(RESULTS)
	python -m analysis.readme README.md docs/*.md

tables: env
	python -m analysis $(RESULTS)

compare: env
	python -m analysis.compare $(A) $(B)

# The template is the complete method on the page that explains it.
new-baseline:
	@echo "$(NAME)" | grep -Eq '^[a-z][a-z0-9_]*$$' || \
	  { echo "give it a name of small letters, digits and _: make new-baseline NAME=mine"; exit 1; }
	@test ! -e baselines/$(NAME).py || { echo "baselines/$(NAME).py is there already"; exit 1; }
	@sed -n '/^```python$$/,/^```$$/{/^```/d;s/signSGD/$(NAME)/g;p;}' docs/adding-a-baseline.md > baselines/$(NAME).py
	@echo "Fill in baselines/$(NAME).py, then: python -m pytest --method $(NAME)"

clean:
	rm -rf $(VENV) .snakemake
