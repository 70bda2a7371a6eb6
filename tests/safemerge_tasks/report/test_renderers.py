"""Every renderer shows all parts of a document."""

from collections.abc import Callable

import pytest
from rich.console import Console

from safemerge_tasks.report.document import (
    Document,
    Excerpt,
    Figure,
    Mark,
    Name,
    Section,
    Table,
)
from safemerge_tasks.report.renderers.html import as_html
from safemerge_tasks.report.renderers.markdown import as_markdown
from safemerge_tasks.report.renderers.terminal import print_document
from safemerge_tasks.results.labels import LABEL_LIMIT

from .parsed import Page, assert_only_the_templates_own

ROWS = tuple((Name(f"row {number}"), f"{number}%") for number in range(30))
DOCUMENT = Document(
    "Bread",
    (
        Section(
            "Loaves",
            ("Ours.", ("of ", Name("somebody"), ": ", Mark("burnt", "bad"), ".")),
            (Table(("what", "share"), ROWS, (Name("table"), "all"), folded=True),),
            (Figure("both", b"1", (Name("picture"),), "a b.png"), Figure("page", b"2")),
            tuple(Excerpt((Name(f"id {n}"),), f"asked {n}", f"said {n}") for n in range(30)),
            limit=25,
        ),
        Section("Pictures", figures=(Figure("page", b"3"),)),
    ),
    Mark("done", "good"),
    rest="which nobody has",
)


def html() -> str:
    page = Page(as_html(DOCUMENT))
    assert_only_the_templates_own(page)
    return page.text


def markdown() -> str:
    return as_markdown(DOCUMENT).replace("&#37;", "%").replace("&#58;", ":")


def terminal() -> str:
    console = Console(width=100, force_terminal=False)
    with console.capture() as captured:
        print_document(DOCUMENT, console, folded_rows=25)
    return captured.get()


@pytest.mark.parametrize("show", [html, markdown, terminal])
def test_everything_is_said(show: Callable[[], str]) -> None:
    said = show()
    for words in (
        *("Bread", "done", "Loaves", "Ours.", "somebody", "burnt", "table", "row 24", "24%"),
        *("and 5 more, which nobody has", "id 24", "asked 24", "said 24"),
    ):
        assert words in said
    assert "row 25" not in said


def test_files_cut_excerpts_and_the_terminal_does_not() -> None:
    assert "asked 25" not in html() + markdown()
    assert "asked 29" in terminal()


def test_a_page_has_pictures_and_markdown_files() -> None:
    assert Page(as_html(DOCUMENT)).count("img") == 3
    page = as_markdown(DOCUMENT)
    assert page.count("![") == 1
    assert "![both](a%20b.png)" in page
    # Without a file there is nothing to show in it.
    assert "Pictures" not in page


def test_a_documents_heading_fits_into_a_page() -> None:
    page = as_markdown(DOCUMENT, level=2)
    assert page.startswith("## Bread ✅ done\n")
    assert "\n### Loaves\n" in page


def test_no_line_on_the_terminal_is_a_command_to_github() -> None:
    words = "::error::no " * 40
    section = Section("", ((Name(words), "."),), excerpts=(Excerpt((Name(words),), words, words),))
    console = Console(width=50, force_terminal=True)
    with console.capture() as captured:
        print_document(Document("", (section,)), console)
    assert not [line for line in captured.get().splitlines() if line.lstrip().startswith("::")]


def test_the_conclusion_is_the_terminals_last_line() -> None:
    assert terminal().splitlines()[-1] == "done"


def test_long_names_that_begin_alike_are_told_apart() -> None:
    names = [Name(f"{'/models' * 30}/{end}").shown for end in ("base", "tuned")]
    assert names[0] != names[1]
    assert {len(one) for one in names} == {LABEL_LIMIT}
