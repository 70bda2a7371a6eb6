"""The repair table's sweep has every method that applies, with parameters that it takes."""

from pathlib import Path

import yaml

from merge.methods import methods
from safemerge_tasks.sweep.spec import SweepSpec
from safemerge_tasks.sweep.variants import expand

SEEDS = (42, 1024, 48763)
# Why each is left out stands in the file.
LEFT_OUT = {"lox", "safety-vector"}


def test_all_methods_that_apply_are_planned(repository: Path) -> None:
    text = (repository / "examples/repair-toy.yaml").read_text("utf-8")
    spec = SweepSpec.model_validate(yaml.safe_load(text))
    cells = [cell for cell in expand(spec, {"toy-task": SEEDS}) if cell.merging]
    # Other tests of this process may have methods of their own.
    ours = {name for name, one in methods().items() if type(one).__module__.startswith("merge.")}
    assert {cell.variant.method for cell in cells} == ours - LEFT_OUT
    assert all(name in text for name in LEFT_OUT)
    alone = [cell for cell in cells if len(cell.variant.seeds) == 1]
    assert len(alone) == 3 * 47
    assert len(cells) - len(alone) == 24
