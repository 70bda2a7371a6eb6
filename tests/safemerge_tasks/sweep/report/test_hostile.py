"""Names in a manifest are anybody's: none becomes HTML, Markdown, a formula or a file elsewhere."""

import csv
import io
import unicodedata
from pathlib import Path

import pytest
from lxml import etree
from lxml import html as lxml_html
from rich.console import Console

from safemerge_tasks.report.document import Figure, Name
from safemerge_tasks.report.renderers.html import as_html
from safemerge_tasks.report.renderers.markdown import as_markdown
from safemerge_tasks.report.renderers.terminal import print_document
from safemerge_tasks.sweep.manifest import Agreement, Manifest, Measured, Rule, Tasks, Tuning
from safemerge_tasks.sweep.report.document import summary_document, sweeps_document
from safemerge_tasks.sweep.report.figure import ALT
from safemerge_tasks.sweep.report.files import write_report
from safemerge_tasks.sweep.report.findings import find, find_all
from safemerge_tasks.sweep.report.records import as_csv
from tests.safemerge_tasks.report.attacks import ATTACKS
from tests.safemerge_tasks.report.parsed import (
    CONTROL,
    Page,
    assert_markdown_is_plain,
    assert_only_the_templates_own,
)
from tests.sweep_folder import SAFETY, SweepFolder, outcomes

FORMULAS = {
    "formula cell": "=HYPERLINK(A1)",
    "plus cell": "+1+cmd|' /C calc'!A0",
    "minus cell": "-1+1",
    "at cell": "@SUM(1)",
    "tab cell": "\t=1+1",
    "full width cell": "\uff1d1+1",
}
HOSTILE = {**ATTACKS, **FORMULAS}


def hostile_sweep(path: Path, text: str) -> SweepFolder:
    """Put a text everywhere that a manifest holds one."""
    # JSON has no lone surrogates, and a name of a megabyte is cut soon enough.
    text = text.replace("\ud800", "")[:50_000]
    useful = Measured(task=f"{text}task", metric=f"{text.replace(',', '')}score")
    tasks = Tasks(safety=(SAFETY,), utility=(useful,))
    folder = SweepFolder(
        path,
        name=text,
        base=text,
        choose=Rule(max_asr=0.5),
        tunings=(Tuning(name=text, validation=tasks, test=tasks),),
        provenance={text: text, "nested": {text: [text]}},
    )
    # A judge's name is a filter's in the results, which `ours` has to match.
    both = {split: {SAFETY: outcomes(2, 20), useful: 0.5} for split in ("validation", "test")}
    folder.add("base", both)
    folder.add("tuned", both, seeds=(1,), tuning=text)
    for number in (1, 2):
        folder.add(
            "merged",
            both,
            seeds=(1,),
            tuning=text,
            method=text,
            label=f"{text}label",
            **{text: float(number)},
        )
    folder.add("merged", {}, tuning=text, method=f"{text}2", failure=text)
    folder.variants = [
        one.model_copy(update={"id": f"{text}{number}"})
        for number, one in enumerate(folder.variants)
    ]
    folder.agreement.append(Agreement(variant=text, split="test", equal=1, total=2))
    folder.write()
    return folder


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_name_becomes_anything_but_text(text: str, tmp_path: Path) -> None:
    sweeps = find_all([hostile_sweep(tmp_path / "sweep", text).path])
    figure = Figure(ALT, b"", (Name(text),), text.replace("\ud800", "")[:100])
    document = sweeps_document(sweeps, [figure])
    page, markdown, table = as_html(document), as_markdown(document), as_csv(sweeps)
    parsed = Page(page)
    assert_only_the_templates_own(parsed)
    tree = lxml_html.fromstring(page)
    assert not tree.xpath("//script | //svg | //iframe | //a | //base | //link | //form | //object")
    assert not tree.xpath("//@*[starts-with(name(), 'on')]")
    assert len(tree.xpath("//*")) == len(parsed.elements)
    for written in (page, markdown, table):
        assert not {unicodedata.category(char) for char in written.replace("\n", "")} & CONTROL
    assert_markdown_is_plain(markdown, images=1)
    for row in csv.DictReader(io.StringIO(table)):
        assert None not in row
        for value in row.values():
            assert not value or value[0] not in "=+@\t\r\uff1d" or value.startswith("'")
            # A minus begins numbers alone.
            assert not value.startswith("-") or float(value) < 0


@pytest.mark.parametrize("name", ["formula", "bidi", "nul", "script", "ansi"])
def test_figures_draw_any_name(name: str, tmp_path: Path) -> None:
    folder = hostile_sweep(tmp_path / "sweep", ATTACKS[name])
    written = write_report(folder.path, tmp_path / "out")
    assert all(path.resolve().is_relative_to(tmp_path / "out") for path in written)
    (figure,) = (path for path in written if path.suffix == ".svg")
    root = etree.fromstring(figure.read_bytes())
    assert not root.xpath("//*[local-name() = 'script']")
    assert not root.xpath("//@*[starts-with(local-name(), 'on')]")


def test_the_terminal_is_left_alone(tmp_path: Path) -> None:
    folder = hostile_sweep(tmp_path / "sweep", ATTACKS["ansi"] + "[bold red]x[/]" + "\u202e")
    console = Console(width=300, force_terminal=False)
    with console.capture() as captured:
        summary = summary_document(find(Manifest.read(folder.path), folder.path))
        print_document(summary, console)
    assert "\x1b" not in captured.get()
    assert "\u202e" not in captured.get()
    assert "[bold red]x" in captured.get()


def test_figures_of_names_that_are_alike_as_files_keep_apart(tmp_path: Path) -> None:
    tasks = Tasks(safety=(SAFETY,))
    names = ("../a", "a", "A", "..", "", "a-2")
    folder = SweepFolder(
        tmp_path / "sweep",
        tunings=tuple(Tuning(name=name, validation=tasks, test=tasks) for name in names),
    )
    for name in names:
        found = {SAFETY: outcomes(1, 10)}
        both = {"validation": found, "test": found}
        folder.add("merged", both, seeds=(1,), tuning=name, method="linear", lambda_=0.5)
    folder.write()
    written = write_report(folder.path, tmp_path / "out")
    figures = [path.name for path in written if path.suffix == ".png"]
    assert len({name.casefold() for name in figures}) == len(names)
    assert all(path.resolve().is_relative_to(tmp_path / "out") for path in written)
