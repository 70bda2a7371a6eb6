"""`make test-mergekit` compares every method that mergekit has too.

The comparison itself runs outside the suite: mergekit is none of our dependencies.
"""

import re
from pathlib import Path

from merge.methods import methods

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "merge_agreement.py"
OWN = {"resta", "safe-lora", "safemerge", "safemerge-to-base", "lox", "lssf-surrogate"}


def test_every_shared_method_is_compared():
    compared = set(re.findall(r'"merge_method": "(\w+)"', SCRIPT.read_text(encoding="utf-8")))
    shared = methods().keys() - OWN - {"safety-vector"}
    assert {name.replace("-", "_") for name in shared} <= compared
