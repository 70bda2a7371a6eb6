"""A page as a parser sees it: which elements with which attributes, and what is text."""

import re
from collections.abc import Sequence
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from markdown_it.token import Token

CONTROL = {"Cc", "Cf", "Cs", "Co", "Cn"}
"""Unicode categories of which no character reaches a page."""

ALLOWED = {
    "html": {"lang"},
    "head": set(),
    "meta": {"charset", "http-equiv", "content", "name"},
    "title": set(),
    "style": set(),
    "body": set(),
    "main": set(),
    "section": set(),
    "h1": set(),
    "h2": set(),
    "h3": set(),
    "p": {"class"},
    "div": {"class"},
    "img": {"alt", "src"},
    "details": {"class"},
    "summary": set(),
    "table": set(),
    "thead": set(),
    "tbody": set(),
    "tr": set(),
    "th": set(),
    "td": {"class", "data-label"},
    "code": set(),
    "pre": set(),
}
"""The template's own elements and attributes."""

_VOID = {"meta", "img"}


class Page(HTMLParser):
    """Collects elements and text; unbalanced tags fail."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.comments: list[str] = []
        self._open: list[str] = []
        self.feed(html)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)

    def handle_pi(self, data: str) -> None:
        self.comments.append(data)

    def unknown_decl(self, data: str) -> None:
        self.comments.append(data)

    def count(self, tag: str) -> int:
        """Return how many elements of a kind there are."""
        return sum(name == tag for name, _ in self.elements)


def assert_only_the_templates_own(page: Page) -> None:
    """Fail if there is any element, attribute, comment or address beyond the template's own."""
    for tag, attributes in page.elements:
        assert tag in ALLOWED, tag
        assert set(attributes) <= ALLOWED[tag], (tag, attributes)
    assert not page.comments
    classes = {attributes.get("class") for _, attributes in page.elements} - {None}
    assert classes <= {"wide", "beside", "group", "mark", "good", "bad", "unsure"}
    for tag, attributes in page.elements:
        if tag == "img":
            assert (attributes["src"] or "").startswith("data:image/png;base64,")


def assert_nothing_github_makes_links_of(markdown: str, inline: Sequence[Token]) -> None:
    """Fail if there is what its parser's extension takes for addresses, inside of code as well.

    `www.` and schemes count in the source, mail addresses in the text between two tags.
    """
    written = re.sub(r"]\(\S+\)", "", markdown)  # of pictures: places, not text
    assert not re.search(r"www\.|[a-z]://", written, re.IGNORECASE)
    text = "".join(token.content if token.type.startswith("text") else "\n" for token in inline)
    assert not re.search(r"[\w.+-]@\w", text)


def assert_markdown_is_plain(markdown: str, images: int) -> None:
    """Fail if a Markdown reader sees HTML, links, pictures or tables beyond the report's own."""
    tokens = MarkdownIt("commonmark").enable("table").parse(markdown)
    inline = [child for token in tokens for child in token.children or ()]
    assert not [token for token in inline if token.type.startswith("link")]
    assert sum(token.type == "image" for token in inline) == images
    raw = {token.content.strip() for token in [*tokens, *inline] if token.type == "html_inline"}
    assert raw <= {"<code>", "</code>", "<!-- -->"}
    assert_nothing_github_makes_links_of(markdown, inline)
    blocks = "".join(token.content for token in tokens if token.type == "html_block")
    elements = Page(blocks).elements
    assert {tag for tag, _ in elements} <= {"details", "summary", "code"}
    assert not [attributes for _, attributes in elements if attributes]
    assert not [token for token in tokens if token.type in ("fence", "code_block")]
