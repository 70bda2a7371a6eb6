"""Other versions than the metadata allows are refused in one sentence."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common import known_versions
from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.known_versions import refuse_unknown

REQUIRES = [
    "lm-eval<0.5,>=0.4.13",
    'vllm<0.33,>=0.32; extra == "vllm"',
    "PyYAML",
]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    found: dict[str, str] = {}

    def version(name: str) -> str:
        if name not in found:
            raise PackageNotFoundError(name)
        return found[name]

    monkeypatch.setattr(known_versions, "version", version)
    monkeypatch.setattr(known_versions, "requires", lambda _: REQUIRES)
    return found


@pytest.mark.parametrize("number", ["0.32.0", "0.32.0+cpu", "0.32.5rc1"])
def test_known_versions(installed: dict[str, str], number: str) -> None:
    installed["vllm"] = number
    refuse_unknown("vllm")


@pytest.mark.parametrize("number", ["0.33.0", "0.31.9+cpu", "0.33.0.dev3"])
def test_unknown_ones(installed: dict[str, str], number: str) -> None:
    installed["vllm"] = number
    wanted = f"vllm {number} is installed, .*; run pip install 'vllm<0.33,>=0.32'."
    with pytest.raises(SafemergeError, match=re.escape(wanted).replace(r"\.\*", ".*")):
        refuse_unknown("vllm")


def test_a_checkout_of_what_is_about_to_be_released(installed: dict[str, str]) -> None:
    installed["lm_eval"] = "0.4.13.dev0"
    refuse_unknown("lm_eval")
    installed["lm_eval"] = "0.5.0.dev1"
    with pytest.raises(SafemergeError, match=r"lm_eval 0\.5\.0\.dev1 is installed"):
        refuse_unknown("lm_eval")


def test_what_is_not_there_or_has_no_bounds(
    installed: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    refuse_unknown("vllm")
    installed["pyyaml"] = "99"
    refuse_unknown("pyyaml")

    def none(name: str) -> Any:
        raise PackageNotFoundError(name)

    installed["vllm"] = "9"
    monkeypatch.setattr(known_versions, "requires", none)
    refuse_unknown("vllm")


def test_the_metadata_bounds_what_is_read(repository: Path) -> None:
    project = tomllib.loads((repository / "pyproject.toml").read_text("utf-8"))["project"]
    extras = project["optional-dependencies"].values()
    lines = [*project["dependencies"], *(line for some in extras for line in some)]
    for name in ("lm-eval", "vllm", "trl"):
        bounds = [line for line in lines if line.startswith(name)]
        assert bounds
        assert all("<" in line for line in bounds), bounds
