# The pipeline in one screen. `make book` and `make test` need Python 3.11+ and make.
PROFILE ?= standard
DEVICE ?= auto
CHAPTERS ?=
PARAMETERS ?=
DATASET ?=
COLUMNS ?=
LIKED ?=
REPEATS ?=
NOUN ?=
SKIP_BAD_ROWS ?=
MODELS ?=
AGAIN ?=
STRICT ?=
ALL ?=
RECORDED ?=
NAME ?=
BENCH ?=
SERVE ?=
P99_MS ?= 20
ITEMS ?= 1000000
QPS ?= 200
RESULTS ?=
FORMATS ?=
EDITIONS ?=
SINCE ?= HEAD
PINS ?=
# The versions to install; LOCK=/dev/null takes the newest that pyproject.toml allows.
LOCK ?= requirements.lock
GPU_LOCK := $(LOCK:.lock=-gpu.lock)
export REPOSITORY ?=
CASE ?=
JSON ?=
PYTHON ?= python3

# An active virtual or conda environment is used; otherwise .venv is made.
ENV := $(or $(VIRTUAL_ENV),$(CONDA_PREFIX),.venv)
PY := "$(ENV)/bin/python"
empty :=
space := $(empty) $(empty)
READY := $(subst $(space),\$(space),$(ENV))/.recsys-book-ready
export PYTHONUNBUFFERED := 1
# Some shells set COLUMNS to the width of the terminal.
export RECSYS_COLUMNS := $(if $(findstring =,$(COLUMNS)),$(COLUMNS))
export RECSYS_LIKED := $(LIKED)
export RECSYS_REPEATS := $(REPEATS)
export RECSYS_NOUN := $(NOUN)
export RECSYS_SKIP_BAD_ROWS := $(SKIP_BAD_ROWS)
# Waiting threads sleep, and BLAS has one: spinning pools take cores from each other.
export OMP_WAIT_POLICY := PASSIVE
export OPENBLAS_NUM_THREADS := 1

.PHONY: FORCE help setup data book report publish compare record test fuzz check
.PHONY: translate bench plan serve picture changed linkcheck clean-run lab doctor
.PHONY: clean clean-cache clean-env
help:
	@echo "make book   run what changed and print the book   PROFILE=smoke|standard|full"
	@echo "            DEVICE=auto|cpu|cuda   CHAPTERS=\"01 04\"   PARAMETERS=\"seed=1\""
	@echo "            DATASET=folder: your own tables of items and interactions"
	@echo "            COLUMNS=\"user=customer item=sku\": names of your columns"
	@echo "            LIKED=\"rating>=4\"   REPEATS=first|last|count   NOUN=garment"
	@echo "            SKIP_BAD_ROWS=1: bad rows are left out, counted and listed"
	@echo "            MODELS=\"folder-or-id ...\": your encoders, the first in the chapters"
	@echo "            EDITIONS=en: without the Chinese edition (en zh)"
	@echo "            AGAIN=\"03\": measure anew   STRICT=1: a fallen verdict stops it"
	@echo "make report  what to build on your DATASET= and MODELS=, in minutes: one page"
	@echo "            (smoke; PROFILE=standard draws more)"
	@echo "make compare  this run beside a recorded one   RECORDED=name   ALL=1"
	@echo "            (DATASET=, MODELS=)"
	@echo "make publish  that, and PDF, ePub, notebooks.zip   FORMATS=\"html epub\""
	@echo "make record NAME=...  keep this run in book/results"
	@echo "make test   every test, the smoke book included; the same each time"
	@echo "make fuzz   property tests on fresh examples, ten times as many"
	@echo "make check  ruff, mypy, imports downward, spelling, numerals in prose, and whether"
	@echo "            the GPU set (requirements-gpu.lock) resolves; it downloads no wheel"
	@echo "make translate  write what is missing or stale in book/locale/zh_CN"
	@echo "make bench  side by side with peers, ratios in one run   BENCH=\"--quick\""
	@echo "make plan   what to build for a latency objective   P99_MS=20 ITEMS=1000000"
	@echo "            QPS=200 CASE=search|texts|history|new-items   JSON=1, by the last book"
	@echo "            (DATASET=, MODELS=) or RESULTS=<folder>"
	@echo "make serve  recommendations over HTTP   SERVE=\"--port 8000\"   DATASET=folder"
	@echo "            MODELS=folder: your items' ids and titles, your encoder"
	@echo "make lab    JupyterLab; a double click on a chapter opens a notebook"
	@echo "make data   get the data, and the model ready to run"
	@echo "make doctor  what is wrong here, and what to do about it"
	@echo "make clean  drop _build; data and environment stay"
	@echo "make clean-cache  drop models and vectors of the cache, unused for 30 days"

setup: $(READY)

$(READY): pyproject.toml requirements.lock requirements-gpu.lock
	@test -x $(PY) || $(PYTHON) -m venv "$(ENV)"
	@$(PY) -c "import sys; sys.exit(sys.version_info < (3, 11))" || \
	    { $(PY) --version; echo "Python 3.11 or newer is needed: make PYTHON=python3.11"; exit 1; }
	@echo "Installing into $(ENV); the first time takes some minutes."
	@faiss=$$($(PY) -m pip show -q faiss-gpu 2>/dev/null && echo gpu || echo cpu); \
	    { $(PY) -m pip install -c $(LOCK) -c $(GPU_LOCK) \
	        -e ".[book,dev,$$faiss]"; \
	    echo $$? >"$(ENV)/.pip-status"; } | $(PY) -m book.pipeline.installing "$(ENV)"; \
	    exit $$(cat "$(ENV)/.pip-status")
	@$(PY) -m pip check
	@touch "$(ENV)/.recsys-book-ready"

data: $(READY)
	@$(PY) -m book.pipeline data

book: $(READY)
	@$(PY) -m book.pipeline build --profile $(PROFILE) --device $(DEVICE) \
	    --chapters "$(CHAPTERS)" --parameters "$(PARAMETERS)" --dataset "$(DATASET)" \
	    --models "$(MODELS)" --again "$(AGAIN)" $(if $(filter-out 0,$(STRICT)),--strict) \
	    --editions "$(EDITIONS)"

# Intervals are wider and times rougher than with PROFILE=standard, which takes longer.
report: PROFILE = smoke
report: $(READY)
	@$(PY) -m book.pipeline report --profile $(PROFILE) --device $(DEVICE) \
	    --chapters "$(CHAPTERS)" --parameters "$(PARAMETERS)" --dataset "$(DATASET)" \
	    --models "$(MODELS)" --again "$(AGAIN)"

publish: $(READY)
	@$(PY) -m pip install --quiet -c $(LOCK) -e ".[publish]"
	@$(PY) -m book.pipeline publish --profile $(PROFILE) --device $(DEVICE) \
	    --chapters "$(CHAPTERS)" --parameters "$(PARAMETERS)" --dataset "$(DATASET)" \
	    --models "$(MODELS)" --again "$(AGAIN)" $(if $(filter-out 0,$(STRICT)),--strict) \
	    --editions "$(EDITIONS)" --formats "$(FORMATS)"

compare: $(READY)
	@$(PY) -m book.pipeline compare --recorded "$(RECORDED)" \
	    --dataset "$(DATASET)" --models "$(MODELS)" $(if $(filter-out 0,$(ALL)),--all)

record: $(READY)
	@$(PY) -m book.pipeline record --name "$(NAME)"

# Two processes, each with whole files. Tests run when anything they could see is newer
# than their last success.
PYTEST := $(PY) -m pytest -n 2 --no-loadscope-reorder
SEEN := $(shell git ls-files --cached --others --exclude-standard 2>/dev/null)
test: data _build/tested
	@echo "Every test passed on these files; delete _build/tested to run them again."

_build/tested: $(or $(wildcard $(SEEN)),FORCE) $(READY)
	$(PYTEST)
	@mkdir -p _build && touch $@

fuzz: data
	$(PYTEST) -m hypothesis --hypothesis-profile=fuzz tests || { echo \
	    "Add each falsifying example to its test with @example, then mend it."; exit 1; }

check: $(READY)
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	"$(ENV)/bin/lint-imports" --no-logo --no-cache
	"$(ENV)/bin/codespell"
	@if command -v actionlint >/dev/null; then actionlint; else \
	    echo "No actionlint: of the workflows, only their tests."; fi
	$(PY) -m book.pipeline check
	@$(PY) -m book.pipeline.doctor.gpu_set

# The labels of figures are those of the last build.
translate: $(READY)
	@$(PY) -m book.pipeline translate

bench: data
	$(PY) -m benchmarks --models "$(MODELS)" $(BENCH)

plan: $(READY)
	@results="$(RESULTS)"; test -n "$$results" || results=$$($(PY) -m book.pipeline \
	    results --dataset "$(DATASET)" --models "$(MODELS)") && \
	    $(PY) -m recsys_lib.serving.plan --p99-ms $(P99_MS) --items $(ITEMS) \
	    --qps $(QPS) --case "$(CASE)" $(if $(filter-out 0,$(JSON)),--json) \
	    --results "$$results"

serve: data
	$(PY) -m recsys_lib.serving.dataset_service --dataset "$(DATASET)" \
	    --models "$(MODELS)" $(SERVE)

# For the CI: pages that a change concerns, dead links, and notebooks.zip in a clean
# folder (CHAPTERS=, PINS= of the packages that lie there).
changed: $(READY)
	@$(PY) -m book.pipeline changed --since "$(SINCE)"

linkcheck: $(READY)
	@$(PY) -m book.pipeline linkcheck

clean-run: $(READY)
	@$(PY) -m book.pipeline clean-run --chapters "$(CHAPTERS)" --pins "$(PINS)"

picture: $(READY)
	@$(PY) -m book.pipeline picture

# Beside the sources, the notebooks of the last build with their numbers in place.
lab: data
	@mkdir -p _build/lab && ln -sfn ../../chapters _build/lab/chapters
	@rm -f _build/lab/executed
	@test ! -d _build/html/notebooks || ln -s ../html/notebooks _build/lab/executed
	JUPYTER_CONFIG_PATH=book/lab $(PY) -m jupyter lab _build/lab

# Needs no environment: it looks at a missing or broken one, too.
doctor:
	@command -v $(PYTHON) >/dev/null || \
	    { echo "There is no $(PYTHON): install Python 3.11, or set PYTHON="; exit 1; }
	@$(PYTHON) -m book.pipeline.doctor "$(ENV)"

clean:
	rm -rf _build

clean-cache: $(READY)
	@$(PY) -m recsys_lib.artifacts

# Of environments only the one that make itself made.
clean-env:
	rm -rf .venv
