"""Every command that reads results takes what lm-eval was given as --output_path, and any file."""

from pathlib import Path

import pytest

from safemerge_tasks.results import HARMFUL_QUESTIONS, find_runs, write_run
from tests.command_line import CommandLine
from tests.lm_eval_files import JUDGE, sample_row, summary_of

DATE = "2026-01-02T03-04-05.678901"
FILE = f"out/run1_{DATE}.json"


@pytest.fixture(params=["out", "out/run1.json", FILE])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return a way to say where results are, those of `--output_path out/run1.json`."""
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    rows = [
        sample_row(
            number,
            "wildguard",
            {"asr": float(number < 5), "unscored_rate": 0.0},
            {"language": "en"},
        )
        for number in range(100)
    ]
    summary = summary_of(
        {"kitchen_asr": {"asr,wildguard": 0.05, "unscored_rate,wildguard": 0.0}},
        ours={"kitchen_asr": {"kind": HARMFUL_QUESTIONS, "judges": [JUDGE]}},
    )
    run = write_run(tmp_path / "out", DATE, summary, {"kitchen_asr": rows})
    run.path.rename(tmp_path / FILE)
    return str(request.param)


def test_check(safemerge: CommandLine, place: str) -> None:
    done = safemerge("check", "--baseline", place, "--candidate", place)
    assert done.status == 0, done.err
    done = safemerge("check", "freeze", place, "--out", "base.json")
    assert done.status == 0, done.err
    assert safemerge("check", "--baseline", "base.json", "--candidate", place).status == 0


def test_report_and_history(safemerge: CommandLine, place: str) -> None:
    assert safemerge("report", place, "--out", "report.html").status == 0
    assert "5.0%" in Path("report.html").read_text()
    done = safemerge("history", place)
    assert (done.status, DATE[:10] in done.out) == (0, True)


def test_judge(safemerge: CommandLine, place: str) -> None:
    assert safemerge("judge", place, "--judge", "keywords").status == 0
    (run,) = find_runs(Path(place))
    assert run.summary()["results"]["kitchen_asr"]["refusal_rate,keywords"] == 0
    assert len(run.rows("kitchen_asr")) == 200


def test_rescore_looks_there(safemerge: CommandLine, place: str) -> None:
    done = safemerge("rescore", place)
    assert (done.status, f"{place} holds no samples of HumanEval" in done.err) == (2, True)


def test_output_to_a_device_a_link_and_standard_output(
    safemerge: CommandLine, place: str, tmp_path: Path
) -> None:
    check = ("check", "--baseline", place, "--candidate", place)
    for option in ("--json", "--junit", "--markdown"):
        done = safemerge(*check, option, "/dev/full")
        assert done.status == 2
        assert "/dev/full cannot be written (No space left on device)" in done.err
    assert Path("/dev/full").is_char_device()
    link = tmp_path / "latest.html"
    link.symlink_to("page.html")
    assert safemerge("report", place, "--out", link).status == 0
    assert link.is_symlink()
    assert "5.0%" in (tmp_path / "page.html").read_text()
