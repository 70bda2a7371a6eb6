"""Every command's help holds an example that the command takes; versions come without torch."""

import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer

import merge
import safemerge_tasks
from safemerge_tasks.cli import app
from safemerge_tasks.default_command import DEFAULT


def leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the words that lead to each command, and the command."""
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from leaves(below, path if name == DEFAULT else (*path, name))


COMMANDS = dict(leaves(typer.main.get_command(app)))


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_example_in_the_help_is_taken(path: tuple[str, ...]) -> None:
    _, found, example = COMMANDS[path].help.partition("Example: safemerge ")
    assert found
    words = example.split()
    assert tuple(words[: len(path)]) == path
    COMMANDS[path].make_context(" ".join(path), words[len(path) :])


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
