"""Bars are told instead of drawn."""

import io
import sys

import pytest
from tqdm import tqdm
from tqdm.auto import tqdm as chosen

from safemerge_tasks.common import bars


@pytest.mark.parametrize("kind", [tqdm, chosen])
def test_every_bar_is_told_and_none_drawn(kind: type[tqdm]) -> None:
    heard: list[tuple[str, int, int | None]] = []
    drawn = io.StringIO()
    with bars.told(lambda *what: heard.append(what)):
        for _ in kind(range(3), desc="loaves", file=drawn, mininterval=0):
            pass
        kind(desc="rolls", file=drawn, leave=False).close()
    assert heard[0] == ("loaves", 0, 3)
    assert ("loaves", 2, 3) in heard
    assert heard[-1] == ("rolls", 0, None)
    assert drawn.getvalue().strip() == ""
    with kind(total=1, desc="buns", file=drawn, mininterval=0):
        pass
    assert heard[-1] == ("rolls", 0, None)
    assert "buns" in drawn.getvalue()


def test_bars_are_wanted_where_somebody_sees_or_hears_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    assert not bars.wanted()
    with bars.told(lambda *_: None):
        assert bars.wanted()
    assert not bars.wanted()
