"""`safemerge report` on sweeps, and what a sweep writes at its end."""

import csv
import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from lxml import etree

from safemerge_tasks.results import write_run
from safemerge_tasks.sweep.report.curves import curves
from safemerge_tasks.sweep.report.figure import draw
from safemerge_tasks.sweep.report.files import write_report
from safemerge_tasks.sweep.report.findings import find, find_all
from safemerge_tasks.sweep.report.records import as_csv
from tests.command_line import Done
from tests.safemerge_tasks.report.parsed import (
    Page,
    assert_markdown_is_plain,
    assert_only_the_templates_own,
)
from tests.sweep_folder import SAFETY, UTILITY, SweepFolder, outcomes

from .conftest import make_sweep

Command = Callable[..., Done]


def assert_png(content: bytes) -> None:
    """Fail unless every chunk of the file has its checksum and the picture ends."""
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    place, kinds = 8, []
    while place < len(content):
        (length,) = struct.unpack(">I", content[place : place + 4])
        chunk = content[place + 4 : place + 8 + length]
        (stored,) = struct.unpack(">I", content[place + 8 + length : place + 12 + length])
        assert zlib.crc32(chunk) == stored
        kinds.append(chunk[:4])
        place += 12 + length
    assert (kinds[0], kinds[-1]) == (b"IHDR", b"IEND")


def assert_svg(content: bytes) -> None:
    """Fail unless it is well-formed SVG that loads and runs nothing."""
    root = etree.fromstring(content)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert not root.xpath("//*[local-name() = 'script' or local-name() = 'image']")
    assert not root.xpath("//@*[starts-with(local-name(), 'on')]")
    links = root.xpath("//@*[local-name() = 'href']")
    assert all(link.startswith("#") for link in links)


def test_page_markdown_plot_and_csv(sweep: SweepFolder, safemerge: Command, tmp_path: Path) -> None:
    done = safemerge(
        *("report", "sweep", "--out", "out.html", "--markdown", "out.md"),
        *("--plot", "out.svg", "--csv", "out.csv"),
    )
    assert done.status == 0, done.err
    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert_only_the_templates_own(page)
    for said in (
        *("Fine-tuned against merged", "Methods side by side", "Choice of the grid point"),
        *("Gate against the base", "Adapter serving", "Missing results", "Provenance"),
        "the engine ran out of memory",
    ):
        assert said in page.text
    assert "Models side by side" not in page.text
    assert page.count("img") == 2
    assert "dough" not in page.text
    assert "How is loaf" not in page.text
    markdown = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "(out.svg)" in markdown
    assert_markdown_is_plain(markdown, images=1)
    assert_svg((tmp_path / "out.svg").read_bytes())
    assert len((tmp_path / "out.csv").read_text().splitlines()) > 70


def test_several_sweeps_on_one_page(tmp_path: Path, safemerge: Command) -> None:
    make_sweep(tmp_path / "a", base="org/one")
    make_sweep(tmp_path / "b", base="org/two")
    done = safemerge("report", "a", "b", "--out", "out.html", "--plot", "out.png")
    assert done.status == 0, done.err
    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert "Models side by side" in page.text
    assert "two: mean ASR" in page.text
    assert_png((tmp_path / "out.png").read_bytes())


def test_csv_goes_into_a_folder_too(sweep: SweepFolder, safemerge: Command, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    assert safemerge("report", "sweep", "--out", "o.html", "--csv", "tables").status == 0
    assert (tmp_path / "tables/results.csv").is_file()


def test_sweeps_and_other_folders_do_not_mix(
    sweep: SweepFolder, safemerge: Command, tmp_path: Path
) -> None:
    summary = {"results": {"arc": {"acc,none": 0.5}}, "model_name": "m"}
    write_run(tmp_path / "plain/m", "2026-01-01T00", summary, {})
    done = safemerge("report", "sweep", "plain", "--out", "out.html")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "plain is no sweep's output as the other folders are" in done.err
    assert safemerge("report", "plain", "--out", "out.html").status == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--plot", "a.pdf"), "a.pdf is neither .png nor .svg"),
        (("--no-redact",), "holds no text of responses"),
        (("--csv", "no/such/place.csv"), "cannot be written"),
    ],
)
def test_bad_input_is_one_sentence(
    words: tuple[str, ...], said: str, sweep: SweepFolder, safemerge: Command
) -> None:
    done = safemerge("report", "sweep", "--out", "out.html", *words)
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert said in done.err


def test_a_broken_manifest_is_one_sentence(
    sweep: SweepFolder, safemerge: Command, tmp_path: Path
) -> None:
    (tmp_path / "sweep/sweep.json").write_text('{"format": 2}')
    done = safemerge("report", "sweep", "--out", "out.html")
    assert (done.status, done.err.count("\n")) == (2, 1)
    assert "is broken" in done.err


def test_csv_only_of_sweeps(tmp_path: Path, safemerge: Command) -> None:
    summary = {"results": {"arc": {"acc,none": 0.5}}, "model_name": "m"}
    write_run(tmp_path / "plain/m", "2026-01-01T00", summary, {})
    done = safemerge("report", "plain", "--out", "o.html", "--csv", "o.csv")
    assert done.status == 2
    assert "leave --csv o.csv out" in done.err


def test_report_in_the_sweeps_folder(sweep: SweepFolder, tmp_path: Path) -> None:
    out = sweep.path / "report"
    written = write_report(sweep.path, out)
    assert [path.relative_to(out).as_posix() for path in written] == [
        *("report.html", "report.md", "results.csv"),
        *("figures/doctor.png", "figures/doctor.svg"),
        *("figures/doctor.tasks.png", "figures/doctor.tasks.svg"),
    ]
    first = [path.read_bytes() for path in written]
    markdown = (out / "report.md").read_text(encoding="utf-8")
    assert "(figures/doctor.png)" in markdown
    for path in written[3:]:
        (assert_png if path.suffix == ".png" else assert_svg)(path.read_bytes())
    # The same results give the same bytes, even into a folder that is there.
    assert [path.read_bytes() for path in write_report(sweep.path, out)] == first


def test_nothing_of_this_machine_is_in_the_report(sweep: SweepFolder, tmp_path: Path) -> None:
    variant = sweep.variants[0]
    next((sweep.path / variant.results["test"]).rglob("samples_loaf_asr*")).write_text("{")
    for path in write_report(sweep.path, tmp_path / "out")[:3]:
        assert str(tmp_path) not in path.read_text(encoding="utf-8")


def test_csv_is_one_tidy_table(sweep: SweepFolder) -> None:
    rows = list(csv.DictReader(io.StringIO(as_csv([find(sweep.write(), sweep.path)]))))
    one = next(row for row in rows if row["variant"] == "v003-merged" and row["split"] == "test")
    assert {key: one[key] for key in ("kind", "tuning", "method", "seeds", "point", "task")} == {
        "kind": "merged",
        "tuning": "doctor",
        "method": "linear",
        "seeds": "42",
        "point": "lambda=0.2",
        "task": "loaf_asr",
    }
    assert (sweep.path / one["samples"]).is_file()
    assert float(one["low"]) <= float(one["value"]) <= float(one["high"])
    assert one["n"] == "40"
    missing = [row for row in rows if row["missing"]]
    assert len(missing) == 5
    assert all(row["value"] == "" for row in missing)
    over = [row for row in rows if not row["variant"] and row["method"] == "linear"]
    assert len(over) == 3 * 5
    assert all(row["seeds"] == "42;1024" and row["spread"] for row in over)


def test_without_merges_there_is_no_figure(tmp_path: Path, safemerge: Command) -> None:
    folder = SweepFolder(tmp_path / "sweep")
    found = {SAFETY: outcomes(0, 10), UTILITY: outcomes(5, 10)}
    folder.add("base", {"test": found})
    folder.write()
    done = safemerge("report", "sweep", "--out", "o.html", "--plot", "o.png")
    assert done.status == 2
    assert "leave --plot out" in done.err
    assert safemerge("report", "sweep", "--out", "o.html").status == 0


def test_curves_follow_each_methods_own_axis(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "out")
    for weight in (0.4, 0.2):
        folder.merged("linear", 1, 5, 50, lambda_=weight)
        for rate in (0.1, 0.3):
            folder.merged("dare-linear", 1, 5, 50, lambda_=weight, drop_rate=rate)
    for gamma in (0.5, 1.0):
        folder.merged("resta", 1, 5, 50, label="RESTA", gamma=gamma, drop_rate=0.3)
    folder.merged("model-stock", (1,), 5, 50)
    found = find(folder.write(), folder.path)
    shown = curves(found, found.survey.manifest.tunings[0])
    assert shown is not None
    assert [(one.label, one.axis, [dot.at for dot in one.dots]) for one in shown.methods] == [
        ("linear", "lambda", [0.2, 0.4]),
        ("dare-linear (drop_rate = 0.1)", "lambda", [0.2, 0.4]),
        ("dare-linear (drop_rate = 0.3)", "lambda", [0.2, 0.4]),
        ("RESTA", "gamma", [0.5, 1.0]),
        ("model-stock", None, [None]),
    ]
    assert shown.axes == ["lambda", "gamma"]
    drawn = draw([shown])
    assert_png(drawn[".png"])
    assert_svg(drawn[".svg"])


def test_validation_is_drawn_where_only_the_choice_was_tested(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "out")
    found = {SAFETY: outcomes(1, 100), UTILITY: outcomes(50, 100)}
    for weight in (0.2, 0.4):
        splits = {"validation": found} | ({"test": found} if weight == 0.2 else {})
        folder.add("merged", splits, seeds=(1,), method="linear", lambda_=weight)
    sweep = find(folder.write(), folder.path)
    shown = curves(sweep, sweep.survey.manifest.tunings[0])
    assert shown is not None
    assert shown.split == "validation"


def test_front_has_what_nothing_beats(tmp_path: Path) -> None:
    folder = SweepFolder(tmp_path / "out")
    for weight, hits, solved in ((0.2, 1, 50), (0.4, 5, 45), (0.6, 9, 70)):
        folder.merged("linear", 1, hits, solved, lambda_=weight)
    sweep = find(folder.write(), folder.path)
    shown = curves(sweep, sweep.survey.manifest.tunings[0])
    assert shown is not None
    scores = [(dot.utility.value, dot.asr.value) for dot in shown.dots if dot.utility]
    assert [one in shown.front for one in scores] == [True, False, True]
    assert [dot.chosen for dot in shown.methods[0].dots] == [True, False, False]


def test_a_figure_of_several_sweeps_is_the_same_every_time(tmp_path: Path) -> None:
    make_sweep(tmp_path / "a", base="org/one")
    make_sweep(tmp_path / "b", base="org/two")
    rows = [
        shown
        for one in find_all([tmp_path / "a", tmp_path / "b"])
        if (shown := curves(one, one.survey.manifest.tunings[0]))
    ]
    assert draw(rows) == draw(rows)
    assert draw(rows, each_task=True) == draw(rows, each_task=True)
