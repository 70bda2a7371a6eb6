"""One display, a log beside the results, and nothing that controls a terminal."""

import io
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tqdm import tqdm

from safemerge_tasks.cli import _live_run
from safemerge_tasks.cli._live_run import LiveRun
from safemerge_tasks.common.errors import SafemergeError

HOSTILE = "\x1b]0;owned\x07\x1b[2Jflour\r\u202e"


class Plain:
    """Standard error where it is no terminal; pytest puts its own back before each test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._told = io.StringIO()

    def begin(self) -> None:
        self._monkeypatch.setattr(sys, "stderr", self._told)

    def lines(self) -> list[str]:
        return self._told.getvalue().splitlines()


class Terminal:
    """A pseudo-terminal in place of standard error, and what it was sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self._master, slave = os.openpty()
        self.file = os.fdopen(slave, "w")

    def begin(self) -> None:
        self._monkeypatch.setattr(sys, "stderr", self.file)

    def sent(self) -> str:
        self.file.flush()
        os.set_blocking(self._master, False)
        found = b""
        while True:
            try:
                found += os.read(self._master, 65536)
            except OSError:  # nothing more
                return found.decode()


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> Plain:
    return Plain(monkeypatch)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[Terminal]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    found = Terminal(monkeypatch)
    yield found
    found.file.close()


def noisy() -> None:
    """Print as libraries do: by Python, by C, from a child, and with bars."""
    print("from print")
    print("from standard error", file=sys.stderr)
    os.write(1, b"from descriptor 1\n")
    os.write(2, b"from descriptor 2\n")
    subprocess.run([sys.executable, "-c", "print('from a child')"], check=True)
    for _ in tqdm(range(3), desc="Loading weights"):
        pass


NOISE = ["from print", "from standard error", "from descriptor 1", "from descriptor 2",
         "from a child"]  # fmt: skip


def test_noise_goes_into_the_log_and_what_matters_is_told(
    plain: Plain, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    plain.begin()
    live = LiveRun(tmp_path, "eval", verbose=False)
    with live:
        live.stage("generating")
        noisy()
        live.counted(1, 3)
        live.counted(3, 3)
        live.counted(3, 3)
        logging.getLogger("safemerge_tasks.judges").warning("no flour in %s", "x")
        logging.getLogger("vllm").warning("hundreds of lines")
    print("after")
    assert plain.lines() == ["generating", "generating, 3 of 3", "safemerge: no flour in x"]
    assert live.log.parent == tmp_path
    assert set(NOISE) <= set(live.log.read_text().splitlines())
    assert capfd.readouterr().out == "after\n"


def test_all_of_it_is_shown_on_request(plain: Plain, tmp_path: Path) -> None:
    plain.begin()
    with LiveRun(tmp_path, "eval", verbose=True) as live:
        noisy()
        print(HOSTILE)
    assert [line for line in plain.lines() if line in NOISE] == NOISE
    assert plain.lines()[-2:] == [r"\u001b]0;owned\u0007\u001b[2Jflour", r"\u202e"]
    assert HOSTILE.splitlines()[0] in live.log.read_text()


def test_where_nobody_sees_a_bar_there_is_a_line_now_and_then(
    plain: Plain, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain.begin()
    monkeypatch.setattr(_live_run, "LINE_SECONDS", 0.05)
    monkeypatch.setattr(_live_run, "_LOOK_SECONDS", 0.01)
    with LiveRun(tmp_path, "eval", verbose=False) as live:
        live.stage("judging bread")
        live.counted(7, 20)
        tqdm(total=3, desc="not drawn").close()
        while len(plain.lines()) < 3:
            live._over.wait(0.01)
    assert plain.lines()[1] == "judging bread, 7 of 20"
    assert not live.log.exists()  # nothing was printed


def test_a_terminal_has_one_bar_that_goes_away(terminal: Terminal, tmp_path: Path) -> None:
    terminal.begin()
    with LiveRun(tmp_path, "eval", verbose=False) as live:
        live.stage("generating")
        for _ in tqdm(range(520), desc="judging"):
            pass
        live._bar.refresh()
        live.said("a warning")
        noisy()
    sent = terminal.sent()
    assert "520 of 520" in sent
    assert "safemerge: a warning" in sent
    assert not any(line in sent for line in NOISE)
    assert sent.endswith("\x1b[2K") or sent.rstrip("\r\n").endswith("\x1b[2K")


def test_hostile_words_do_not_control_the_terminal(terminal: Terminal, tmp_path: Path) -> None:
    terminal.begin()
    with LiveRun(tmp_path, "eval", verbose=True) as live:
        live.stage(HOSTILE)
        live.said(HOSTILE)
        logging.getLogger("merge").warning(HOSTILE)
        print(HOSTILE)
    sent = terminal.sent()
    assert "\x07" not in sent
    assert "\x1b]" not in sent
    assert "\x1b[2J" not in sent
    assert "\u202e" not in sent
    assert sent.count(r"\u001b[2Jflour") >= 4


def test_a_dumb_terminal_gets_lines(
    terminal: Terminal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal.begin()
    monkeypatch.setenv("TERM", "dumb")
    with LiveRun(tmp_path, "eval", verbose=False) as live:
        live.stage("generating")
        live.counted(2, 2)
    assert terminal.sent().split("\r\n") == ["generating", "generating, 2 of 2", ""]


def fail(live: LiveRun, error: BaseException, said: str = "noise\n") -> None:
    with live:
        print(said, end="")
        raise error


def test_an_error_names_the_log(plain: Plain, tmp_path: Path) -> None:
    plain.begin()
    live = LiveRun(tmp_path, "eval", verbose=False)
    with pytest.raises(SafemergeError) as refused:
        fail(live, SafemergeError("No flour."))
    assert str(refused.value) == f"No flour. What was printed is in {live.log}."
    other = LiveRun(tmp_path, "judge", verbose=False)
    with pytest.raises(ZeroDivisionError):
        fail(other, ZeroDivisionError())
    assert plain.lines() == [f"safemerge: what was printed is in {other.log}."]
    silent = LiveRun(tmp_path, "attack", verbose=False)
    with pytest.raises(SafemergeError, match=r"^No flour\.$"):
        fail(silent, SafemergeError("No flour."), said="")


def test_a_folder_that_takes_no_log(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match=r"eval_.*\.log cannot be written"):
        LiveRun(tmp_path / "absent", "eval", verbose=False).__enter__()


def test_what_is_written_after_the_end_does_no_harm(plain: Plain, tmp_path: Path) -> None:
    """As by handlers of libraries that were imported meanwhile."""
    plain.begin()
    with LiveRun(tmp_path, "eval", verbose=False) as live:
        kept = logging.StreamHandler(sys.stdout)
        print("noise")
    kept.handle(logging.LogRecord("vllm", logging.INFO, "", 0, "late", (), None))
    assert live.log.read_text() == "noise\nlate\n"
    assert plain.lines() == []
