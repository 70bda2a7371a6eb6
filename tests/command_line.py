"""The command line, run in this process."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from safemerge_tasks.cli import main


@dataclass(frozen=True)
class Done:
    """A finished command."""

    status: int
    out: str
    err: str


class CommandLine:
    """Runs `safemerge` in a folder of the test's own."""

    def __init__(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], folder: Path
    ) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys
        monkeypatch.chdir(folder)
        monkeypatch.setenv("GITHUB_ACTIONS", "")

    def __call__(self, *words: str | Path, environment: dict[str, str] | None = None) -> Done:
        for name, value in (environment or {}).items():
            self._monkeypatch.setenv(name, value)
        self._monkeypatch.setattr(sys, "argv", ["safemerge", *map(str, words)])
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        return Done(int(end.value.code or 0), *self._capsys.readouterr())
