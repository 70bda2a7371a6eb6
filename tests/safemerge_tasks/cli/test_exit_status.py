"""How commands end: 1 is `check`'s word for a regression, and nothing else's there."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import CommandLine

WORDS = ("check", "--baseline", "a", "--candidate", "b")


@pytest.mark.parametrize("error", [ValueError("loaf"), RuntimeError("x\ny"), MemoryError()])
def test_a_crash_of_check_is_one_sentence_and_never_a_regression(
    safemerge: CommandLine, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr("safemerge_tasks.gate.frozen.load_evaluation", _raises(error))
    done = safemerge(*WORDS)
    assert done.status == 3
    assert type(error).__name__ in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert "Traceback" in safemerge(*WORDS, environment={"SAFEMERGE_TRACEBACK": "1"}).err


@pytest.mark.parametrize(("error", "status"), [(KeyboardInterrupt(), 130), (BrokenPipeError(), 3)])
def test_nor_is_an_interrupt_or_a_closed_pipe(
    safemerge: CommandLine, monkeypatch: pytest.MonkeyPatch, error: BaseException, status: int
) -> None:
    error = BrokenPipeError(32, "Broken pipe") if isinstance(error, BrokenPipeError) else error
    monkeypatch.setattr("safemerge_tasks.gate.frozen.load_evaluation", _raises(error))
    assert safemerge(*WORDS).status == status


@pytest.mark.parametrize("read", [0, 1, 700])
def test_a_reader_that_leaves_is_told_nothing(read: int) -> None:
    """At once, while help is printed, or near its end."""
    with subprocess.Popen(
        [sys.executable, "-m", "safemerge_tasks", "check", "--help"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.read(read)
        running.stdout.close()
        assert running.stderr is not None
        assert running.stderr.read() == b""
        assert running.wait() in ((3,) if read == 0 else (0, 3))


def test_other_commands_show_where_they_crashed(
    safemerge: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("safemerge_tasks.report.reading.read_models", _raises(ValueError("loaf")))
    done = safemerge("report", ".", "--out", "x.html")
    assert done.status == 3
    assert "Traceback" in done.err


@pytest.mark.parametrize("words", [("check",), ("check", "--nothing"), ("check", "init")])
def test_wrong_usage_ends_with_2(safemerge: CommandLine, words: tuple[str, ...]) -> None:
    assert safemerge(*words).status == 2


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data.replace(b"toy", b"t\xff\xfe", 1),
        lambda data: b"[" * 100_000,
        lambda data: b"",
    ],
)
def test_a_damaged_results_file_is_bad_input(
    safemerge: CommandLine, tmp_path: Path, damage: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "a").mkdir()
    whole = b'{"results": {"toy_asr": {"asr,wildguard": 0.0}}, "model_name": "toy"}'
    (tmp_path / "a" / "results_1.json").write_bytes(damage(whole))
    for words in (("check", "--baseline", "a", "--candidate", "a"), ("report", "a", "--out", "r")):
        done = safemerge(*words)
        assert done.status == 2, done.err
        assert "results_1.json is not JSON" in done.err
        assert len(done.err.strip().splitlines()) == 1


def _raises(error: BaseException) -> Callable[..., None]:
    def function(*_: object) -> None:
        raise error

    return function


ENTRIES = {
    "the module": ["-m", "safemerge_tasks"],
    "the console script": ["-c", "from safemerge_tasks.cli import main; main()"],
}


@pytest.mark.parametrize("words", [("check", "--help"), ("merge", "--help"), ("sweep", "--help")])
@pytest.mark.parametrize("entry", ENTRIES)
def test_a_merge_py_in_the_working_folder_changes_nothing(
    tmp_path: Path, repository: Path, entry: str, words: tuple[str, ...]
) -> None:
    """Also on the path by name, as `PYTHONPATH=.` has it, in front of our own."""
    (tmp_path / "merge.py").write_text("print('mine')\nraise SystemExit(0)\n")
    done = subprocess.run(
        [sys.executable, *ENTRIES[entry], *words],
        cwd=tmp_path,
        env={"PYTHONPATH": f".:{repository}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "mine" not in done.stdout
    assert "Usage" in done.stdout


@pytest.mark.parametrize("module", ["safemerge_tasks.sweep.worker", "safemerge_tasks.toy.family"])
def test_nor_does_a_folder_of_that_name_in_our_other_processes(
    tmp_path: Path, repository: Path, module: str
) -> None:
    (tmp_path / "merge").mkdir()
    (tmp_path / "merge" / "__init__.py").write_text("print('mine')\n")
    done = subprocess.run(
        [sys.executable, "-c", f"import {module}, merge; print(merge.__file__)"],
        cwd=tmp_path,
        env={"PYTHONPATH": f".:{repository}", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == str(repository / "merge" / "__init__.py")
