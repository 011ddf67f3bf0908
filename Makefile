# `make demo`: install, make the scenes, train, evaluate, report.   `make test`: install, check, test.
# An active environment (venv or conda) is used as it is; otherwise .venv is made.
SHELL := /bin/bash
BASE_PYTHON ?= python3

ifneq ($(strip $(VIRTUAL_ENV)$(CONDA_PREFIX)),)
PY := python
else
PY := .venv/bin/python
endif

OUTPUT := output/quickstart
DATA := output/datasets
CHECKED := seg_projects runtime/detectron2 tools datasets bench

.PHONY: help install install-test demo test lint bench clean

help:
	@grep -E '^# `' Makefile | tr -d '#`'

.venv/bin/python:
	$(BASE_PYTHON) -m venv .venv

# A Detectron2 that is installed already is left alone; ours carries "+seg" in its version.
install: $(if $(filter .venv/bin/python,$(PY)),.venv/bin/python)
	@if $(PY) -c 'import sys; from importlib.metadata import version; \
	sys.exit("+seg" in version("detectron2"))' 2>/dev/null; \
	then echo "Using the Detectron2 that is installed."; RUNTIME=; else RUNTIME="-e ./runtime"; fi; \
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt $$RUNTIME -e .

install-test: install
	$(PY) -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .[test,fast,augment,models]

demo: install
	$(PY) datasets/prepare_shapes.py --root $(DATA)
	$(PY) tools/train_net.py --config-file configs/quickstart/panoptic_fpn_shapes.yaml \
		DATASETS.ROOT $(DATA) OUTPUT_DIR $(OUTPUT)
	$(PY) tools/report.py --config-file $(OUTPUT)/config.yaml

lint:
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy $(CHECKED)

test: install-test lint
	$(PY) -m pytest -n 2 --dist loadfile

bench: install-test
	@for script in bench/bench_*.py; do $(PY) $$script || exit 1; done

clean:
	rm -rf output build dist .mypy_cache .ruff_cache .pytest_cache
