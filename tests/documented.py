"""What the pages tell people to type: every fenced command, whatever it stands in."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from markdown_it import MarkdownIt

OURS = ("safemerge", "lm_eval")
SHELL = frozenset({"console", "bash", "sh", "shell"})
THE_SAME = "…"
"""Stands for the arguments of the page's last whole command of that name."""

NAMED = re.compile(r"(?<![\w./-])(?:[\w.]+/)*(?:safemerge|lm_eval) +(?=[a-z-])")
_BEFORE = re.compile(r"\w+=.*|then|do|else|if|!|time")
_ENDS = frozenset({";", "&&", "||", "|", "&", ";;", "(", ")", "\n"})


class Fence(NamedTuple):
    """A fenced block of a page."""

    page: Path
    language: str
    text: str


class Typed(NamedTuple):
    """A command of ours.

    Attributes:
        page: where it stands.
        program: `safemerge` or `lm_eval`.
        words: its arguments.
    """

    page: Path
    program: str
    words: list[str]


def pages(repository: Path) -> list[Path]:
    """Return every page of the site, and of the folders that it is made from."""
    folders = ("docs", "benchmarks", "task_configs")
    below = (path for folder in folders for path in (repository / folder).rglob("*.md"))
    return sorted({*repository.glob("*.md"), *below})


def fences(page: Path) -> list[Fence]:
    """Return a page's fenced blocks, those inside lists and quotes included."""
    found = MarkdownIt().parse(page.read_text("utf-8"))
    return [Fence(page, one.info.strip(), one.content) for one in found if one.type == "fence"]


def lines(fence: Fence) -> list[str]:
    """Return the lines that are typed, long ones joined; of `console` those after the `$`."""
    if fence.language == "yaml":
        scripts = _strings(yaml.safe_load(fence.text))
    elif fence.language in SHELL:
        scripts = iter([fence.text])
    else:
        return []
    joined = [line for one in scripts for line in one.replace("\\\n", " ").splitlines()]
    plain = [re.sub(r"(?:^|\s)#.*", "", line).strip() for line in joined]
    if fence.language == "console":
        return [line[2:] for line in plain if line.startswith("$ ")]
    return plain


def commands(page: Path) -> list[Typed]:
    """Return a page's commands, in order, with what `…` stands for put in its place."""
    found: list[Typed] = []
    whole: dict[tuple[str, str], list[str]] = {}
    for line in [line for fence in fences(page) for line in lines(fence)]:
        for program, words in _programs(line):
            key = (program, words[0] if words else "")
            if THE_SAME in words:
                place = words.index(THE_SAME)
                words = [*words[:place], *whole[key][1:], *words[place + 1 :]]
            else:
                whole[key] = words
            found.append(Typed(page, program, words))
    return found


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for one in value.values():
            yield from _strings(one)
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)


def _programs(line: str) -> Iterator[tuple[str, list[str]]]:
    """Yield our programs in a line of a shell, with their arguments."""
    if not any(name in line for name in (*OURS, "safemerge_tasks")):
        return
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    lexer.commenters = ""
    words: list[str] = []
    for word in [*lexer, ";"]:
        if word not in _ENDS:
            words.append(word)
            continue
        while words and _BEFORE.fullmatch(words[0]):
            del words[0]
        if "-m" in words and words[words.index("-m") + 1 :][:1] == ["safemerge_tasks"]:
            yield "safemerge", words[words.index("-m") + 2 :]
        elif len(words) > 1 and Path(words[0]).name in OURS:
            yield Path(words[0]).name, words[1:]
        words = []
