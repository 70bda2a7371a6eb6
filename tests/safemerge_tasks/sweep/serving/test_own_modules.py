"""What of a task's code is in its key."""

import sys
from pathlib import Path

import pytest

from safemerge_tasks.sweep.serving.own_modules import own_modules


def write(folder: Path, **modules: str) -> None:
    for name, text in modules.items():
        path = folder / f"{name.replace('__', '/').replace('INIT', '__init__')}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def names(folder: Path, file: str) -> list[str]:
    return [str(path.relative_to(folder)) for path in own_modules(folder / file)]


def test_what_a_module_imports_counts_however_deep(tmp_path: Path) -> None:
    write(
        tmp_path,
        task="import math\nimport grains\nfrom oven.heat import bake",
        grains="from grind import flour",
        grind="import grains  # in a circle",
        oven__INIT="",
        oven__heat="from . import cold\nfrom .. import salt",
        oven__cold="",
        salt="",
        unused="",
    )
    assert names(tmp_path, "task.py")[0] == "task.py"
    assert sorted(names(tmp_path, "task.py")) == [
        "grains.py",
        "grind.py",
        "oven/__init__.py",
        "oven/cold.py",
        "oven/heat.py",
        "salt.py",
        "task.py",
    ]


def test_an_import_within_a_function_counts_and_installed_packages_do_not(tmp_path: Path) -> None:
    write(tmp_path, task="import torch, json\ndef f():\n    import late", late="")
    assert names(tmp_path, "task.py") == ["task.py", "late.py"]


def test_a_helper_that_was_loaded_from_elsewhere_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, tasks__task="import helper_of_the_bakery", lib__helper_of_the_bakery="")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    monkeypatch.delitem(sys.modules, "helper_of_the_bakery", raising=False)
    __import__("helper_of_the_bakery")
    assert names(tmp_path, "tasks/task.py") == ["tasks/task.py", "lib/helper_of_the_bakery.py"]


def test_a_file_that_is_no_python_counts_itself(tmp_path: Path) -> None:
    write(tmp_path, task="def (")
    assert names(tmp_path, "task.py") == ["task.py"]
