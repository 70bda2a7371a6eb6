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
from markdown_it import MarkdownIt

from .conftest import JUDGE, sample
from .parsed import Page, assert_only_the_templates_own

ATTACKS = {
    "script": "<script>alert(1)</script>",
    "broken script": "<scr<script>ipt>alert(1)</scr</script>ipt>",
    "image": "<img src=x onerror=alert(1)>",
    "double quotes": '"><svg onload=alert(1)>',
    "single quotes": "'><b onmouseover='alert(1)",
    "attribute": '" autofocus onfocus="alert(1)',
    "details": "</details></section></main><details open ontoggle=alert(1)>",
    "table": "</td></tr></table><h1>owned</h1>",
    "pre": "</pre></code><iframe src=//evil.example></iframe>",
    "style": "</style><style>*{background:url(//evil.example)}</style>",
    "title": "</title><base href=//evil.example>",
    "cdata": "<![CDATA[ ]]><p>]]>",
    "comment": "--><!-- <!DOCTYPE x> <?php ?>",
    "data url": "data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==",
    "javascript url": "[x](javascript:alert(1)) <a href=javascript:alert(1)>x</a>",
    "meta": '<meta http-equiv="refresh" content="0;url=//evil.example">',
    "link": '<link rel="stylesheet" href="//evil.example/x.css"><form action=//evil.example>',
    "template": "{{ 7 * 7 }}{% for x in range(9) %}{% endfor %}{{ self.__init__.__globals__ }}",
    "entities": "&lt;script&gt;&#60;script&#62;&amp;",
    "bidi": "safe\u202egnp.exe\u2066\u2069\u200f",
    "zero width": "a\u200bb\ufeffc",
    "nul": "a\x00<script>\x00b",
    "ansi": "\x1b[2J\x1b[31mred\x1b]8;;http://evil.example\x07link",
    "line separators": "a\u2028b\u2029c\x85d\r\ne",
    "lone surrogate": "a\ud800b",
    "pipes": "a | b || c \\| d |\n|---|---|\n| x | y |",
    "backticks": "`` ` ``` ~~~ \n```\n<b>x</b>\n```",
    "markdown": "# h\n- [x](http://evil.example) ![i](http://evil.example/i.png) **b** @team #1",
    "autolink": "www.evil.example http://evil.example <http://evil.example> a@evil.example",
    "formula": "$\\frac{1}{0}$ $\\nosuch$ _hidden",
    "huge": "<b>" + "A" * 1_000_000,
}

SAFE = {"Cc", "Cf", "Cs", "Co", "Cn"}


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
        assert not {unicodedata.category(char) for char in written.replace("\n", "")} & SAFE
    _assert_markdown_is_plain(markdown)


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


def _assert_markdown_is_plain(markdown: str) -> None:
    """Fail if a Markdown reader sees HTML, links, pictures or tables beyond the report's own."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [token for token in inline if token.type.startswith("link")]
    assert sum(token.type == "image" for token in inline) == 1
    raw = {token.content.strip() for token in [*tokens, *inline] if token.type == "html_inline"}
    assert raw <= {"<code>", "</code>"}
    blocks = "".join(token.content for token in tokens if token.type == "html_block")
    opened = {tag for tag, _ in _tags(blocks)}
    assert opened <= {"details", "summary", "code"}
    assert not [attributes for _, attributes in _tags(blocks) if attributes]
    assert not [token for token in tokens if token.type in ("fence", "code_block")]


def _tags(fragment: str) -> list[tuple[str, dict[str, str | None]]]:
    return Page(fragment).elements
