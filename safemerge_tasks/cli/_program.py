"""The program around the commands: which there are, and how bad input ends."""

import os
import pkgutil
import select
import sys
import traceback
from collections import UserDict
from importlib import import_module
from importlib.metadata import entry_points, version
from io import TextIOWrapper
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from merge.errors import MergeError
from safemerge_tasks.common.errors import SafemergeError, brief
from safemerge_tasks.report.printable import printable, printable_lines

ENTRY_POINTS = "safemerge.commands"
"""The group in which other packages name the modules of their commands."""

BAD_INPUT = 2
CRASHED = 3
INTERRUPTED = 130

TRACEBACK = "SAFEMERGE_TRACEBACK"
"""The environment variable that makes a crash of `check` show where it happened."""


class _Commands(UserDict[str, Any]):
    """Command name → command, whose module is imported when it is asked for.

    `safemerge my-command` is a module `cli/my_command.py`, or any module that another package names
    in its metadata as `my-command = "my_package.my_module"`; ours win. The module has an
    `app = typer.Typer(add_completion=False)` and imports nothing heavy before it runs.
    """

    def __init__(self) -> None:
        super().__init__()
        self.data = {point.name: point.value for point in entry_points(group=ENTRY_POINTS)}
        self.data |= {
            module.name.replace("_", "-"): f"{__package__}.{module.name}"
            for module in pkgutil.iter_modules(import_module(__package__).__path__)
            if not module.name.startswith("_")
        }

    def __getitem__(self, name: str) -> Any:
        command = typer.main.get_command(import_module(self.data[name]).app)
        command.name = name
        return command


class _Program(TyperGroup):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.commands = _Commands()

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002
        """Return all names; nothing is imported."""
        return sorted(self.commands)

    def invoke(self, ctx: Any) -> Any:
        """Run a command; what nobody foresaw ends with 3, and never with 1.

        For `check` 1 means a regression, and left alone both Python and click end so: after an
        exception, an interrupt and a closed pipe.
        """
        try:
            return super().invoke(ctx)
        except (SafemergeError, MergeError, typer.Abort):
            raise
        except KeyboardInterrupt:
            sys.exit(INTERRUPTED)
        except SystemExit as done:
            # rich's own end where nobody reads any more is 1.
            if isinstance(done.__context__, BrokenPipeError):
                done.code = CRASHED
            raise
        except Exception as error:
            if hasattr(error, "exit_code"):  # wrong usage and the like: click knows how these end
                raise
            if isinstance(error, BrokenPipeError) and _nobody_reads():
                sys.exit(CRASHED)
            if ctx.invoked_subcommand != "check" or os.environ.get(TRACEBACK):
                print(printable_lines(traceback.format_exc()), end="", file=sys.stderr)
            print(
                f"safemerge: {ctx.invoked_subcommand} did not foresee {printable(brief(error))}; "
                f"nothing was decided, {TRACEBACK}=1 shows where.",
                file=sys.stderr,
            )
            sys.exit(CRASHED)


def _nobody_reads() -> bool:
    """Return whether whoever read the output has read enough, as `head` does."""
    try:
        output = sys.stdout.fileno()
    except OSError:  # not a file
        return False
    poll = select.poll()
    poll.register(output, 0)
    if not any(event & select.POLLERR for _, event in poll.poll(0)):
        return False
    # The interpreter's own last flush would raise once more.
    os.dup2(os.open(os.devnull, os.O_WRONLY), output)
    return True


app = typer.Typer(
    name="safemerge",
    cls=_Program,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"safemerge {version('safemerge')}")
        raise typer.Exit


@app.callback()
def safemerge(
    version: Annotated[
        bool,
        typer.Option("--version", help="Show the version.", callback=_say_version, is_eager=True),
    ] = False,
) -> None:
    """Measure and restore the safety of fine-tuned language models."""


def main() -> None:
    """Run the command line; bad input is one sentence on standard error and exit status 2."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            # What the locale has no character for becomes its code, and no crash.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (SafemergeError, MergeError) as error:
        # One line, since one that began with two colons would be a command to GitHub.
        print(printable(f"safemerge: {error}"), file=sys.stderr)
        sys.exit(BAD_INPUT)
