"""Options of `safemerge merge` for the models that methods declare as roles, such as --unaligned.

They are not written down here: a method's declaration, also one in a user's file, makes its option.
"""

from typing import Any

from typer.core import TyperCommand

from merge.errors import MergeError, suggestion

ROLES = "safemerge roles"
"""Where a command's context holds the models, by the role each plays."""

SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}
"""What a command has to say of itself so that the options reach it."""


class CommandWithRoles(TyperCommand):
    """A command that takes what it does not know for `--ROLE MODEL`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read its own options, and then what is left.

        Raises:
            MergeError: something is left that no method declares.
        """
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        for option in order:
            if order.count(option) > 1 and not option.multiple:
                raise MergeError(f"{option.opts[0]} is given twice; remove one.")
        super().parse_args(ctx, args)
        ctx.meta[ROLES] = _models(ctx) if ctx.args else {}
        return []


def _models(ctx: Any) -> dict[str, str]:
    from merge.methods import find_method, known_roles

    if method := ctx.params.get("method"):
        # A method in a user's file is known from here on.
        find_method(method)
    flags = {role.flag: role.name for role in known_roles().values()}
    models: dict[str, str] = {}
    words = iter(ctx.args)
    for word in words:
        flag, equals, value = word.partition("=")
        if flag not in flags:
            own = [name for option in ctx.command.params for name in option.opts]
            raise MergeError(f"There is no option {flag}; {suggestion(flag, [*own, *flags])}")
        model = value if equals else next(words, "")
        if not model:
            raise MergeError(f"{flag} names no model; give one, as {flag} FOLDER.")
        if flags[flag] in models:
            raise MergeError(f"{flag} is given twice, and one model plays each role; remove one.")
        models[flags[flag]] = model
    return models
