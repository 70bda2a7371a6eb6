"""Shared by all tests: no network, no settings of the developer's own."""

import os
import sys
from pathlib import Path

import pytest

# Set before any library reads them: nothing is downloaded at test time.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# What the developer's terminal, network or CI says of itself: rich and typer would draw otherwise,
# servers on this machine be asked for through a proxy, and reports land in the CI's own.
_TERMINAL = {"FORCE_COLOR", "NO_COLOR", "PY_COLORS", "COLUMNS", "TERMINAL_WIDTH"}
for _name in list(os.environ):
    if _name in _TERMINAL or _name.startswith("GITHUB_") or _name.lower().endswith("_proxy"):
        del os.environ[_name]
# Each of pytest's workers has its share of the cores: where threads of several wait for each other
# on the same cores, all take up to three times as long.
if _workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    _share = len(os.sched_getaffinity(0)) // int(_workers)
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, _share)))
# `make test-clients` has trackers' and Sigstore's clients in a folder of their own, which comes
# last, so that nothing else is taken from it.
sys.path += filter(None, [os.environ.get("SAFEMERGE_CLIENTS")])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the real commands first: two workers share what is left in small pieces."""
    items.sort(key=lambda item: "e2e" not in item.path.parts)


@pytest.fixture(autouse=True)
def _own_settings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SAFEMERGE_")]:
        # The second makes a stand-in of the toy family, as another machine would.
        if name not in ("SAFEMERGE_CACHE_DIR", "SAFEMERGE_TOY"):
            monkeypatch.delenv(name)


@pytest.fixture
def repository() -> Path:
    """Return the source checkout."""
    return Path(__file__).parents[1]
