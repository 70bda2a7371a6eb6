"""`import merge` means this distribution's package, whatever a working folder holds."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def import_own_merge() -> None:
    """Import the `merge` beside this package, if the search path would find another one first.

    A `merge.py` is common in repositories that merge models. `python -m` and `PYTHONPATH=.` put
    their folder in front of installed packages, and a gate that runs its code may pass anything.
    """
    file = ROOT / "merge" / "__init__.py"
    present = sys.modules.get("merge")
    try:
        spec = present.__spec__ if present else importlib.util.find_spec("merge")
    except ValueError:  # a module without a specification
        spec = None
    if not file.is_file() or (spec and spec.origin and Path(spec.origin).samefile(file)):
        return
    own = importlib.util.spec_from_file_location(
        "merge", file, submodule_search_locations=[str(file.parent)]
    )
    assert own is not None
    assert own.loader is not None
    sys.modules["merge"] = importlib.util.module_from_spec(own)
    own.loader.exec_module(sys.modules["merge"])
