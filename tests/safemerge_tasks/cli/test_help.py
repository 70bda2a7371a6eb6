"""Every command's help holds an example that the command takes; versions come without torch."""

import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

import merge
import safemerge_tasks
from tests.commands import COMMANDS, assert_taken


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_example_in_the_help_is_taken(path: tuple[str, ...]) -> None:
    _, found, example = COMMANDS[path].help.partition("Example: safemerge ")
    assert found
    words = example.split()
    assert tuple(words[: len(path)]) == path
    assert_taken(words)


def test_the_version_is_that_of_the_package(repository: Path) -> None:
    code = "import sys; sys.argv[1:] = ['--version']; from safemerge_tasks.cli import main\n"
    code += "try: main()\nfinally: assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, cwd=repository
    )
    assert done.stdout == f"safemerge {version('safemerge')}\n"
    assert merge.__version__ == safemerge_tasks.__version__ == version("safemerge")
    with pytest.raises(AttributeError):
        _ = safemerge_tasks.nothing
