"""Model output is hostile: none of it becomes HTML, Markdown or a control sequence."""

import re
import shutil
import subprocess
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from lxml import html as lxml_html

from .attacks import ATTACKS
from .conftest import JUDGE, sample
from .parsed import (
    CONTROL,
    Page,
    assert_markdown_is_plain,
    assert_only_the_templates_own,
)


@pytest.fixture
def reported(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> Callable[..., tuple[str, str]]:
    """Return a function that puts a text everywhere a file can hold one, and makes the report."""

    def make(text: str) -> tuple[str, str]:
        safe = text.replace("\ud800", "")
        for name, accuracy in (("one", 0.5), ("two", 0.6)):
            rows = [
                {
                    **sample(
                        number,
                        float(number % 2),
                        judge=safe[:100],
                        id=f"{number}{text}",
                        question=text,
                        category=f"{text}{number % 2}",
                        language=f"{text}{number % 3}",
                    ),
                    "resps": [[text]],
                }
                for number in range(6)
            ]
            rows += [
                {**row, "filter": f"{row['filter']}2", "asr": float(number % 3 == 0)}
                for number, row in enumerate(rows)
            ]
            run = write(
                name,
                rows=rows,
                accuracy=accuracy,
                model=f"{name}{text[:100_000]}",
                ours={"judges": [{**JUDGE, "name": safe[:100], "model": text, text: text}]},
                config={"model": text, "model_args": {text: text}},
                chat_template_sha=text,
                git_hash=text,
                task_hashes={"toy_asr": text, "arc": text},
                lm_eval_version={text: [text]},
            )
            # A task's name is a file's name too, so it goes only where no file is needed.
            summary = run.summary()
            summary["results"][text] = {f"asr,{text}": 0.5, f"asr_stderr,{text}": 0.1}
            summary["results"][f"{text}2"] = {f"{text},{text}": 0.5}
            run.write_summary(summary)
        done = safemerge(
            *("report", "one", "two", "--out", "page.html", "--markdown", "page.md"),
            *("--plot", "plot.png", "--no-redact"),
        )
        assert done.status == 0, done.err
        assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
        page = (tmp_path / "page.html").read_text(encoding="utf-8")
        return page, (tmp_path / "page.md").read_text(encoding="utf-8")

    return make


@pytest.mark.parametrize("text", ATTACKS.values(), ids=ATTACKS)
def test_no_text_becomes_anything_but_text(
    text: str, reported: Callable[..., tuple[str, str]]
) -> None:
    page, markdown = reported(text)
    parsed = Page(page)
    assert_only_the_templates_own(parsed)
    # A second, tolerant parser, closer to a browser's.
    tree = lxml_html.fromstring(page)
    assert not tree.xpath("//script | //svg | //iframe | //a | //base | //link | //form | //object")
    assert not tree.xpath("//@*[starts-with(name(), 'on')]")
    assert len(tree.xpath("//*")) == len(parsed.elements)
    for written in (page, markdown):
        assert not {unicodedata.category(char) for char in written.replace("\n", "")} & CONTROL
    assert_markdown_is_plain(markdown, images=1)


def test_an_attack_makes_the_same_page_as_plain_words(
    reported: Callable[..., tuple[str, str]],
) -> None:
    plain = [tag for tag, _ in Page(reported("plain words")[0]).elements]
    for name in ("script", "details", "table", "cdata", "double quotes", "pre"):
        assert [tag for tag, _ in Page(reported(ATTACKS[name])[0]).elements] == plain


def test_huge_texts_are_cut(reported: Callable[..., tuple[str, str]]) -> None:
    page, markdown = reported(ATTACKS["huge"])
    assert len(re.sub(r'src="[^"]*"', "", page)) < 500_000
    assert len(markdown) < 500_000
    assert "A" * 2000 not in page


def test_text_reads_as_it_was_written(reported: Callable[..., tuple[str, str]]) -> None:
    page = Page(reported('<b title="x">&amp; bold</b>')[0])
    assert '<b title="x">&amp; bold</b>' in page.text


def test_page_in_a_browser(reported: Callable[..., tuple[str, str]], tmp_path: Path) -> None:
    names = ("chromium", "chromium-browser", "google-chrome", "chrome-headless-shell")
    browser = next(filter(None, map(shutil.which, names)), None)
    if browser is None:
        pytest.skip("no Chromium on this machine")
    reported("".join(text for name, text in ATTACKS.items() if name != "huge"))
    words = ("--headless", "--disable-gpu", "--no-sandbox", "--dump-dom")
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    address = (tmp_path / "page.html").as_uri()
    done = subprocess.run(
        [browser, *words, profile, address], capture_output=True, check=True, timeout=120
    )
    tree = lxml_html.fromstring(done.stdout.decode("utf-8"))
    assert not tree.xpath("//script | //svg | //iframe | //a | //base | //link | //form")
    assert not tree.xpath("//@*[starts-with(name(), 'on')]")
