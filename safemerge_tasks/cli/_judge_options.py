"""How a command line names judges: options that `judge` and `judge calibrate` share."""

import logging
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.printable import printable_lines

if TYPE_CHECKING:
    from safemerge_tasks.judges.settings import JudgeSettings

JudgeNames = Annotated[
    list[str] | None,
    typer.Option(
        "--judge",
        help="A judge's name, or path/to/file.py:make for your own; a+b or repeated for several, "
        "majority(a+b+c) for their vote.",
    ),
]
Engine = Annotated[str | None, typer.Option(help="vllm, hf or openai.")]
Model = Annotated[str | None, typer.Option(help="The judge's weights.")]
Url = Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint.")]
Revision = Annotated[str | None, typer.Option(help="Revision of the weights.")]
Rubric = Annotated[str | None, typer.Option(help="A file that replaces the judge's rubric.")]
Metadata = Annotated[
    list[str] | None,
    typer.Option(
        help="judge_key=value[,…] as in lm_eval's --metadata; judge_key.NAME=value for one judge "
        "of several; thinking=START...END for a format of your own; may be repeated."
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", help="Show what lm_eval, vLLM and others print.")
]


def judges_asked_for(
    names: list[str] | None,
    engine: str | None,
    model: str | None,
    url: str | None,
    revision: str | None,
    rubric: str | None,
    metadata: list[str] | None,
) -> "list[JudgeSettings]":
    """Return each judge's settings, in the order named.

    Raises:
        SafemergeError: an unknown key or an impossible value, or a judge named twice.
    """
    from safemerge_tasks.judges.settings import JudgeSettings

    given = parse_pairs(metadata or [])
    options = {
        "judge_engine": engine,
        "judge_model": model,
        "judge_url": url,
        "judge_revision": revision,
        "judge_prompt": rubric,
    }
    given.update({key: value for key, value in options.items() if value is not None})
    named = [{"judge": name} for name in names or ()] or [{}]
    asked = [one for each in named for one in JudgeSettings.from_metadata({**given, **each}).each()]
    for settings in asked:
        if [other.name for other in asked].count(settings.name) > 1:
            raise SafemergeError(f"--judge {settings.name} is given twice; name each judge once.")
    return asked


def thinking_asked_for(metadata: list[str] | None) -> str | None:
    """Return how thinking is told from answers; None where that is left to the saved run.

    Raises:
        SafemergeError: an impossible value.
    """
    from safemerge_tasks.verdicts.thinking_settings import ThinkingSettings

    settings = ThinkingSettings.from_metadata(parse_pairs(metadata or []))
    return settings.format if settings.model_fields_set else None


def parse_pairs(texts: list[str]) -> dict[str, str]:
    """Return `key=value[,key=value…]` strings as one mapping.

    Raises:
        SafemergeError: a part without `=`, or a key twice.
    """
    pairs: dict[str, str] = {}
    for part in (part for text in texts for part in text.split(",") if part):
        key, equals, value = part.partition("=")
        if not equals:
            raise SafemergeError(f"--metadata {part!r} is not key=value; write judge_model=DIR.")
        if key in pairs:
            raise SafemergeError(f"--metadata has {key} twice; remove one.")
        pairs[key] = value
    return pairs


def log_to_stderr() -> None:
    """Show warnings, a sentence a line."""
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Sentence("safemerge: %(message)s"))


class _Sentence(logging.Formatter):
    """Without what would control the terminal: warnings may repeat what a model wrote."""

    def format(self, record: logging.LogRecord) -> str:
        return printable_lines(super().format(record))
