"""`python -I start_worker.py`: a `worker` of the package that this file lies in.

Python's isolated mode keeps the environment and the user's own folders away from trusted code, and
with them a safemerge that lies there. So the package is taken from where it is, and nothing else.
"""

import importlib.util
import sys
from pathlib import Path

_PACKAGE = "safemerge_tasks"


def main() -> None:
    """Load the package by its place and start the worker."""
    folder = Path(__file__).absolute().parents[1]
    spec = importlib.util.spec_from_file_location(
        _PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    sys.modules[_PACKAGE] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[_PACKAGE])

    from safemerge_tasks.sandbox import worker

    worker.main()


if __name__ == "__main__":
    main()
