"""A command that also has commands below it: `check DIR …` and `check init …`."""

from typing import Any

import typer
from typer.core import TyperGroup

DEFAULT = "default"
"""The name under which an app registers the command meant where none is named; users never see it.
"""


class _DefaultGroup(TyperGroup):
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Take anything but the name of a command for the default command's arguments."""
        if not args or args[0] not in self.commands:
            args = [DEFAULT, *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Leave the default command's name out of what users read."""
        name, command, rest = super().resolve_command(ctx, args)
        return "" if name == DEFAULT else name, command, rest


def app_with_default(description: str) -> typer.Typer:
    """Return an app whose command `DEFAULT` runs where no other is named."""
    return typer.Typer(
        cls=_DefaultGroup, help=description, no_args_is_help=False, add_completion=False
    )
