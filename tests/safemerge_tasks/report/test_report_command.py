"""`safemerge report` as people call it."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .parsed import Page, assert_only_the_templates_own


def test_page_markdown_and_plot(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write("tuned", [1.0, 0.0] * 20, accuracy=0.7)
    write("merged", [0.0] * 39 + [None], accuracy=0.6)
    done = safemerge(
        *("report", "tuned", "merged", "--out", "out.html", "--markdown", "out.md"),
        *("--plot", "plots of mine.png"),
    )
    assert done.status == 0, done.err
    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    page = Page(html)
    assert_only_the_templates_own(page)
    for said in ("50.0% (", "20 of 40", "toy_asr", "tuned", "merged", "1 unscored", "arc"):
        assert said in page.text
    assert page.count("img") == 1
    assert "dough" not in html
    assert "How is loaf" not in html
    markdown = (tmp_path / "out.md").read_text(encoding="utf-8")
    assert "20 of 40" in markdown
    assert "(plots%20of%20mine.png)" in markdown
    assert "dough" not in markdown
    assert (tmp_path / "plots of mine.png").read_bytes().startswith(b"\x89PNG")


def test_nothing_is_loaded_and_nothing_runs(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write("one", [1.0, 0.0])
    assert safemerge("report", "one", "--out", "out.html").status == 0
    html = (tmp_path / "out.html").read_text(encoding="utf-8")
    policy = dict(Page(html).elements[3][1])
    assert policy["http-equiv"] == "Content-Security-Policy"
    allowed = str(policy["content"]).split("; ")
    assert allowed[0] == "default-src 'none'"
    assert not any("unsafe" in part or "http" in part for part in allowed)
    assert not re.search(r"https?:|//[a-z]|<script|@import|url\(", re.sub(r'src="[^"]*"', "", html))


def test_text_only_where_it_is_asked_for(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write("one", [1.0, 0.0])
    assert safemerge("report", "one", "--out", "out.html", "--no-redact").status == 0
    page = Page((tmp_path / "out.html").read_text(encoding="utf-8"))
    assert "Knead dough 0" in page.text
    # That response is not harmful.
    assert "Knead dough 1" not in page.text


def test_same_results_same_bytes(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write("one", [1.0, 0.0])
    safemerge("report", "one", "--out", "a.html")
    safemerge("report", "one", "--out", "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_bad_input_is_one_sentence(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    done = safemerge("report", "nowhere", "--out", "a.html")
    assert (done.status, done.err.count("\n")) == (2, 1)
    write("one", [1.0])
    done = safemerge("report", "one", "--out", "no/such/folder/a.html")
    assert done.status == 2
    assert "cannot be written" in done.err
    next(iter((tmp_path / "one").rglob("samples_*"))).write_text('{"doc_id": 0, "fil')
    done = safemerge("report", "one", "--out", "a.html")
    assert done.status == 2
    assert "cut off" in done.err
