"""What a browser makes of the page, by its own measurements: phone and desk, light and dark.

Not of pixels, which differ with every font: nothing is cut, nothing overlaps, the verdict is on
top, and every text stands out from what is behind it.
"""

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from html import unescape
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import Done

from .conftest import sample

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed here")

PHONE, DESK = 390, 1280

# Read from outside: the page's own policy lets no script run in it.
MEASURE = """<!DOCTYPE html><meta charset="utf-8"><body style="margin:0">
<iframe id="page" src="PAGE" style="border:0;width:WIDTHpx;height:900px"></iframe>
<script>
const frame = document.getElementById("page");
// Both by the formulas of WCAG 2.2.
const luminance = text => {
  const [red, green, blue] = text.match(/[\\d.]+/g).map(Number).map(one => one / 255)
    .map(one => one <= 0.04045 ? one / 12.92 : ((one + 0.055) / 1.055) ** 2.4);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
};
frame.onload = () => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const dark = view.matchMedia("(prefers-color-scheme: dark)").matches;
  const behind = one => {
    for (; one; one = one.parentElement) {
      const color = view.getComputedStyle(one).backgroundColor;
      if (!/, 0(\\.\\d+)?\\)$/.test(color)) return color;
    }
    return dark ? "rgb(18,18,18)" : "rgb(255,255,255)";
  };
  const seen = [...page.querySelectorAll("h1, h2, h3, p, td, th, summary, img")]
    .filter(one => one.checkVisibility({contentVisibilityAuto: true}) && one.offsetWidth > 1)
    .filter(one => !one.closest("thead") || view.innerWidth > 640);
  const boxes = seen.map(one => {
    const box = one.getBoundingClientRect(), style = view.getComputedStyle(one);
    const [text, back] = [luminance(style.color), luminance(behind(one))];
    return {
      tag: one.tagName.toLowerCase(), text: one.textContent.slice(0, 60), tone: one.className,
      left: box.left, right: box.right, top: box.top, bottom: box.bottom,
      cut: one.scrollWidth - one.clientWidth, label: one.dataset.label || "",
      contrast: (Math.max(text, back) + 0.05) / (Math.min(text, back) + 0.05),
    };
  });
  const found = {
    width: view.innerWidth, content: page.documentElement.scrollWidth, boxes, dark,
  };
  const out = document.createElement("pre");
  out.id = "found";
  out.textContent = JSON.stringify(found);
  document.body.replaceChildren(out);
};
</script>"""


@pytest.fixture(params=["passed", "REGRESSION", "UNDECIDED"])
def page(
    request: pytest.FixtureRequest,
    write: Callable[..., Any],
    safemerge: Callable[..., Done],
    tmp_path: Path,
) -> tuple[str, Path]:
    """Return a verdict and a report that comes to it, with names that are long and hostile."""
    share, size = {"passed": (0, 240), "REGRESSION": (120, 240), "UNDECIDED": (1, 12)}[
        request.param
    ]
    long = "an unreasonably-long/name_of_a_model-" * 3
    judge = {"name": "wildguard", "model": f"/{'x' * 90}/judge", "prompt_sha256": "5e74"}
    for name, harmful in (("base", 0), ("tuned", share)):
        rows = [
            sample(number, float(number < harmful), category=f"kind {number % 3} " + "y" * 70)
            for number in range(size)
        ]
        write(name, rows=rows, accuracy=0.5, model=f"{name}/{long}", ours={"judges": [judge]})
    done = safemerge("report", "base", "tuned", "--out", "report.html")
    assert done.status == 0, done.err
    return request.param, tmp_path / "report.html"


def measured(page: Path, width: int, *, dark: bool) -> Any:
    """Return the boxes of what is visible in a page of a width, as the browser lays it out."""
    outside = page.with_name(f"outside-{width}.html")
    outside.write_text(MEASURE.replace("PAGE", page.name).replace("WIDTH", str(width)))
    assert CHROMIUM
    words = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
        *("--allow-file-access-from-files", "--virtual-time-budget=3000", "--dump-dom"),
        f"--user-data-dir={page.with_name('browser')}",
        f"--blink-settings=preferredColorScheme={0 if dark else 1}",
        f"--window-size={max(width, 600)},1000",
        outside.as_uri(),
    ]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[-500:]
    return json.loads(unescape(found[1]))


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESK])
def test_nothing_is_cut_or_hard_to_read(page: tuple[str, Path], width: int, dark: bool) -> None:
    verdict, path = page
    found = measured(path, width, dark=dark)
    assert (found["width"], found["dark"]) == (width, dark)
    assert found["content"] <= width
    boxes = found["boxes"]
    assert {"h1", "h2", "p", "td", "img"} <= {one["tag"] for one in boxes}
    for one in boxes:
        assert 0 <= one["left"] < one["right"] <= width + 0.5, one
        assert one["cut"] <= 1, one
        assert one["contrast"] >= 4.5 or one["tag"] == "img", one
    for above, below in pairwise(boxes):
        # In the order of the page, beside each other or below each other.
        assert below["top"] >= above["bottom"] - 1 or below["left"] >= above["right"] - 1, (
            above,
            below,
        )
    first = [one for one in boxes if one["bottom"] <= 300]
    assert any(verdict in one["text"] for one in first)


def test_a_phone_names_every_cell_and_a_desk_every_column(page: tuple[str, Path]) -> None:
    _, path = page
    phone = [
        one for one in measured(path, PHONE, dark=False)["boxes"] if one["tag"] in ("td", "th")
    ]
    desk = [one for one in measured(path, DESK, dark=False)["boxes"] if one["tag"] in ("td", "th")]
    assert not any(one["tag"] == "th" for one in phone)
    assert any(one["tag"] == "th" for one in desk)
    assert {"baseline", "candidate", "change for the worse"} <= {one["label"] for one in phone}
    # The same cells but for empty ones, whatever the width.
    told = [one["text"] for one in desk if one["tag"] == "td" and one["text"].strip()]
    assert [one["text"] for one in phone if one["text"].strip()] == told
