"""mergekit's results where the semantics are the same, if its own environment is there.

`make bench-merge` and `make test-mergekit` make that environment; mergekit is none of ours.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from merge.methods import methods
from safemerge_tasks.common.cache import cache_dir

ENVIRONMENT = cache_dir() / "bench" / "mergekit"
SCRIPT = Path(__file__).parents[2] / "benchmarks" / "merge_agreement.py"


@pytest.mark.skipif(
    not (ENVIRONMENT / "bin" / "mergekit-yaml").exists(), reason="`make test-mergekit` installs it"
)
def test_agreement_with_mergekit(tmp_path):
    """Every method that both have, and every recipe of mergekit's own that is taken here."""
    (tmp_path / "mergekit").symlink_to(ENVIRONMENT)
    command = [sys.executable, str(SCRIPT), "--root", str(tmp_path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    compared = {line.split("|")[1].strip() for line in ran.stdout.splitlines()[2:]}
    own = {"resta", "safe-lora", "safemerge", "safemerge-to-base", "lox", "lssf-surrogate"}
    shared = {name.replace("-", "_") for name in methods().keys() - own - {"safety-vector"}}
    assert shared <= compared
    assert {"examples/ties", "tests: ties", "slerp, slices"} <= compared
