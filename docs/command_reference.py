"""The directive `commands`: every command of `safemerge` with what `--help` says of it."""

import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

from tests.commands import COMMANDS

_EXAMPLE = "Example: "


class Commands(SphinxDirective):
    """A section a command, in the order of their names."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return [self._section(" ".join(path), one) for path, one in sorted(COMMANDS.items())]

    def _section(self, name: str, command: Any) -> nodes.section:
        title = f"safemerge {name}"
        section = nodes.section("", nodes.title("", title), ids=[nodes.make_id(title)])
        section += self._help(command.help or "")
        context = command.make_context(title, [], resilient_parsing=True)
        found = nodes.definition_list()
        for one in command.params:
            # None of an option that `--help` hides.
            for spelling, explanation in filter(None, [one.get_help_record(context)]):
                found += nodes.definition_list_item(
                    "",
                    nodes.term("", "", nodes.literal("", spelling)),
                    nodes.definition("", nodes.paragraph("", "", *self._words(explanation))),
                )
        if len(found):
            section += found
        return section

    def _help(self, text: str) -> Iterator[nodes.Node]:
        for paragraph in text.split("\n\n"):
            said = " ".join(paragraph.split())
            if said.startswith(_EXAMPLE):
                yield nodes.literal_block(
                    "", f"$ {said.removeprefix(_EXAMPLE)}", language="console"
                )
            elif said:
                yield nodes.paragraph("", "", *self._words(said))

    def _words(self, text: str) -> Iterator[nodes.Node]:
        for place, part in enumerate(re.split(r"`([^`]+)`", text)):
            if part:
                yield nodes.literal("", part) if place % 2 else nodes.Text(part)


def setup(app: Any) -> dict[str, bool]:
    """Register the directive, as Sphinx asks."""
    app.add_directive("commands", Commands)
    return {"parallel_read_safe": True}
