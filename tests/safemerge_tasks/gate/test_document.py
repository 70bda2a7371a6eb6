"""Labels, names and responses are hostile: whatever they are, a report stays a report."""

import io
import json
from collections.abc import Callable

import pytest
from junitparser import JUnitXml
from markdown_it import MarkdownIt
from rich.console import Console

from safemerge_tasks.gate.decision import GateResult, compare
from safemerge_tasks.gate.policy import Policy
from safemerge_tasks.gate.texts import Place, Texts, place
from safemerge_tasks.report.documents.gate import gate_document
from safemerge_tasks.report.renderers.github import annotations
from safemerge_tasks.report.renderers.html import as_html
from safemerge_tasks.report.renderers.json import as_json
from safemerge_tasks.report.renderers.junit import as_junit
from safemerge_tasks.report.renderers.markdown import as_markdown
from safemerge_tasks.report.renderers.terminal import print_document
from safemerge_tasks.results import Run
from safemerge_tasks.results.loading import load_folder
from tests.safemerge_tasks.report.parsed import (
    Page,
    assert_nothing_github_makes_links_of,
    assert_only_the_templates_own,
)

from .conftest import sample

HOSTILE = [
    "<script>alert(1)</script>",
    "</code></details><img src=x onerror=y>",
    "`a` | **b** | [c](http://d.example) ![e](http://f.example)",
    "one\ntwo\r\n| three |\n::error::no",
    "\x1b[31mred\x1b[0m \x1b]8;;http://g.example\x07link\x07",
    "\u202eright to left\u2066 \u200bnothing\ufeff",
    "\x00\x01\x0b\ufffe\uffff",
    "[red]markup[/red] [link=http://h.example]i[/link]",
    "@everyone #1 http://j.example www.k.example l@m.example ]]> &lt;b&gt; &amp; %0A::error::x",
    "\ud800 lone",
]


@pytest.fixture(params=HOSTILE)
def hostile(request: pytest.FixtureRequest, write: Callable[..., Run]) -> tuple[str, GateResult]:
    text = request.param
    label = {"id": text, "category": text, "language": text, "cluster": ""}
    rows = [
        [sample(n, float(n < flipped), doc=label if n < 3 else {}) for n in range(100)]
        for flipped in (0, 40)
    ]
    a, b = (
        load_folder(write(name, rows=side, model=text).path.parent)
        for name, side in zip("ab", rows, strict=True)
    )
    return text, compare(a, b, Policy())


ROWS = (1 + 1) + (1 + 8) + (1 + 2) + (1 + 40)
"""The check, four categories and four languages, the two models, and the questions."""


def texts(text: str, result: GateResult) -> dict[Place, Texts]:
    return {place(flip): Texts(text, text, text) for flip in result.comparisons[0].flips}


def test_markdown(hostile: tuple[str, GateResult]) -> None:
    text, result = hostile
    page = as_markdown(gate_document(result, texts(text, result)))
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse(page)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [token for token in inline if token.type in ("image", "link_open", "em_open")]
    assert_nothing_github_makes_links_of(page, inline)
    tags = {"<code>", "</code>", "<details>", "</details>", "<summary>", "</summary>"}
    allowed = {*tags, "<!-- -->"}
    for token in inline:
        if token.type == "html_inline":
            assert token.content.strip() in allowed
    assert page.count("<script") == page.count("<img") == 0
    cells = [token for token in tokens if token.type == "tr_open"]
    assert len(cells) == ROWS
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_page(hostile: tuple[str, GateResult]) -> None:
    text, result = hostile
    page = Page(as_html(gate_document(result, texts(text, result))))
    assert_only_the_templates_own(page)
    assert page.count("tr") == ROWS


def test_junit(hostile: tuple[str, GateResult]) -> None:
    _, result = hostile
    suite = next(iter(JUnitXml.fromstring(as_junit(gate_document(result, {})).encode())))
    case = next(iter(suite))
    assert (suite.tests, suite.failures, suite.errors) == (1, 1, 0)
    assert case.classname == "safemerge.toy_asr"
    assert len(case.system_out.splitlines()) == 3 + 40


def test_terminal(hostile: tuple[str, GateResult]) -> None:
    text, result = hostile
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=200)
    print_document(gate_document(result, texts(text, result)), console, folded_rows=None)
    shown = out.getvalue()
    assert "\x1b]8" not in shown
    for code in ("\x00", "\x07", "\u202e", "\u200b", "\n::"):
        assert code not in shown
    if text.startswith("\x1b"):
        assert "\\u001b[31mred" in shown
    if text.startswith("[red]"):
        assert "[red]markup" in shown


def test_annotations(hostile: tuple[str, GateResult]) -> None:
    _, result = hostile
    found = annotations(gate_document(result, {}))
    assert all(line.startswith("::error title=") and "\n" not in line for line in found)


def test_json(hostile: tuple[str, GateResult]) -> None:
    text, result = hostile
    page = as_json(gate_document(result, texts(text, result)))
    page.encode("ascii")
    assert json.loads(page)["checks"][0]["worse"][0]["response"] == text
    assert json.loads(page)["checks"][0]["worse"][0]["before"] == text
