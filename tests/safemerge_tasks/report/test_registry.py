"""A section is added with one decorated function, here or in another package."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.report.document import Section, Table
from safemerge_tasks.report.reading import Evaluated
from safemerge_tasks.report.sections import section
from tests.other_package import install

from .parsed import Page

PACKAGE = """
from safemerge_tasks.report.document import Section, Table
from safemerge_tasks.report.sections import section

@section(25)
def loaves(evaluated):
    rows = tuple((f"loaves of {model.label}", "7") for model in evaluated.models)
    return Section("Loaves", (), (Table(("what", "how many"), rows),))
"""


@pytest.fixture
def page(
    write: Callable[..., Any],
    safemerge: Callable[..., Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[], Page]:
    """Return a function that makes a report; sections of this test are forgotten after it."""
    write("one", [1.0, None])
    section.of(Evaluated(()))
    monkeypatch.setattr(section, "_found", dict(section._found))

    def make() -> Page:
        done = safemerge("report", "one", "--out", "out.html")
        assert done.status == 0, done.err
        return Page((tmp_path / "out.html").read_text(encoding="utf-8"))

    return make


@pytest.fixture
def install_loaves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that installs a package whose one module has a section."""
    monkeypatch.delitem(sys.modules, "other_loaves", raising=False)

    def put(source: str) -> None:
        install(tmp_path, monkeypatch, "safemerge.report_sections", "loaves", source)

    return put


def test_a_section_of_ones_own_stands_at_its_place(page: Callable[[], Page]) -> None:
    assert "Loaves" not in page().text

    @section(25)
    def loaves(evaluated: Evaluated) -> Section:
        return Section("Loaves", (), (Table(("n",), ((str(len(evaluated.models)),),)),))

    text = page().text
    assert text.index("Unscored") < text.index("Loaves") < text.index("By category")


def test_a_section_with_nothing_to_say_is_left_out(page: Callable[[], Page]) -> None:
    @section(25)
    def loaves(_: Evaluated) -> Section:
        return Section("Loaves", ("There are none.",), (Table(("n",), ()),))

    assert "Loaves" not in page().text


def test_another_packages_section(
    page: Callable[[], Page], install_loaves: Callable[[str], None]
) -> None:
    install_loaves(PACKAGE)
    assert "loaves of one" in page().text


def test_a_broken_package_is_one_sentence(
    install_loaves: Callable[[str], None],
    write: Callable[..., Any],
    safemerge: Callable[..., Any],
) -> None:
    write("one", [1.0])
    install_loaves("import no_such_bakery\n")
    done = safemerge("report", "one", "--out", "out.html")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "the section loaves of other_loaves cannot be imported" in done.err
