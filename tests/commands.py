"""The commands of `safemerge`, by the words that lead to them."""

from collections.abc import Iterator
from typing import Any

import typer

from safemerge_tasks.cli import app
from safemerge_tasks.cli._default_command import DEFAULT


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    if not hasattr(command, "commands"):
        yield path, command
        return
    for name, below in command.commands.items():
        yield from _leaves(below, path if name == DEFAULT else (*path, name))


COMMANDS = dict(_leaves(typer.main.get_command(app)))


def assert_taken(words: list[str]) -> None:
    """Let a command read its arguments, without running it; its errors are click's."""
    path = tuple(words[:2]) if tuple(words[:2]) in COMMANDS else tuple(words[:1])
    COMMANDS[path].make_context(" ".join(path), words[len(path) :])
