"""Shared by all tests: no network, no settings of the developer's own."""

import os
from pathlib import Path

import pytest

# Set before any library reads them: nothing is downloaded at test time.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_OFFLINE"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


@pytest.fixture(autouse=True)
def _own_settings_only(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("SAFEMERGE_")]:
        if name != "SAFEMERGE_CACHE_DIR":
            monkeypatch.delenv(name)


@pytest.fixture
def repository() -> Path:
    """Return the source checkout."""
    return Path(__file__).parents[1]
