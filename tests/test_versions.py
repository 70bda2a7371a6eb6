"""What the environments of the newest and the lowest versions are made from."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture
def versions(repository: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.syspath_prepend(str(repository / "requirements"))
    import versions

    yield versions
    for name in ("versions", "install", "lock", "uv_tool"):
        sys.modules.pop(name)


def test_what_would_bring_another_vllm_is_kept_apart(versions: Any) -> None:
    asked, apart = versions.asked_for(versions.EXTRAS)
    pinned = {**versions.UNRESOLVED, **versions.DEMO_REAL}
    # gguf is asked for by a range: what it needs is here anyway.
    wanted = [f"{name}=={version}" for name, version in pinned.items() if name != "gguf"]
    assert sorted(apart) == sorted(wanted)
    assert not set(apart) & set(asked)
    assert not [line for line in asked if line.startswith(("vllm", "wildguard"))]
    assert {"torch>=2.13", "trl>=1.16,<1.17", "pytest>=8.4"} <= set(asked)


def test_vllm_where_it_is_asked_for(versions: Any) -> None:
    asked, _ = versions.asked_for((*versions.EXTRAS, "vllm"))
    assert "vllm>=0.32,<0.33" in asked
