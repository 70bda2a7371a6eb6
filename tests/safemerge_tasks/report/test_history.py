"""`safemerge history` on nightly runs."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.report.history import read_history

NIGHTS = [f"2026-01-0{day}T00-00-00.000001" for day in (1, 2, 3)]


def write_nights(write: Callable[..., Any], **more: Any) -> None:
    # Written in another order than that of their dates.
    for day, harmful in ((1, 8), (0, 2), (2, 20)):
        outcomes = [float(number < harmful) for number in range(40)]
        write(f"nights/{day}", outcomes, date=NIGHTS[day], model="main", **more)


def test_runs_in_the_order_of_their_dates(write: Callable[..., Any], tmp_path: Path) -> None:
    write_nights(write)
    (series,) = read_history([tmp_path / "nights", tmp_path / "nights"])
    assert [night.date for night in series.nights] == NIGHTS
    assert [night.asr.value for night in series.nights] == [0.05, 0.2, 0.5]
    assert series.drift is not None
    assert series.drift.increase is not None
    assert series.drift.increase.value == pytest.approx(0.45)
    assert series.drift.increase.p_value < 0.001
    assert series.drift.reason == "40 questions, paired"


def test_without_samples_the_rates_are_compared(write: Callable[..., Any], tmp_path: Path) -> None:
    counts = {"asr": {"harmful": 4, "scored": 40, "total": 40}}
    write_nights(write, samples=False, ours={"counts": {"wildguard": counts}})
    (series,) = read_history([tmp_path / "nights"])
    assert series.drift is not None
    assert series.drift.reason.startswith("unpaired")


def test_other_settings_are_not_compared(write: Callable[..., Any], tmp_path: Path) -> None:
    write("nights/0", [0.0] * 4, date=NIGHTS[0], model="main")
    write("nights/1", [1.0] * 4, date=NIGHTS[1], model="main", versions={"toy_asr": 2.0})
    (series,) = read_history([tmp_path / "nights"])
    assert series.drift is not None
    assert series.drift.increase is None
    assert series.drift.reason == "not comparable: version differs"


def test_table_json_and_plot(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write_nights(write)
    done = safemerge("history", "nights", "--plot", "drift.png")
    assert done.status == 0, done.err
    assert "50.0% (" in done.out
    assert "+45.0%" in done.out
    assert (tmp_path / "drift.png").read_bytes().startswith(b"\x89PNG")
    (record,) = json.loads(safemerge("history", "nights", "--json").out)
    assert [run["harmful"] for run in record["runs"]] == [2, 8, 20]
    assert record["drift"]["questions"] == 40


def test_hostile_names_control_nothing(
    write: Callable[..., Any], safemerge: Callable[..., Any]
) -> None:
    write("nights/0", [0.0], model="[bold]\x1b[2J$\\frac$")
    done = safemerge("history", "nights", "--plot", "drift.png")
    assert done.status == 0
    assert "\x1b" not in done.out
    assert "[bold]" in done.out


def test_no_rate_is_bad_input(write: Callable[..., Any], tmp_path: Path) -> None:
    write("one", rows=[], samples=False, task="toy")
    run = next((tmp_path / "one").rglob("results_*"))
    content = json.loads(run.read_text())
    content["results"] = {"arc": {"acc,none": 0.5}}
    run.write_text(json.dumps(content))
    with pytest.raises(SafemergeError, match="no attack success rate"):
        read_history([tmp_path / "one"])


def test_every_night_has_the_gates_verdict(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    for day, harmful in ((1, 2), (2, 2), (3, 60)):
        outcomes = [float(number < harmful) for number in range(200)]
        write(f"nights/{day}", outcomes, date=NIGHTS[day - 1], model="main")
    (record,) = json.loads(safemerge("history", "nights", "--json").out)
    assert [run["verdict"] for run in record["runs"]] == [None, "passed", "regression"]
    assert record["runs"][0]["reason"].startswith("the first night")
    assert "increase is at least" in record["runs"][2]["reason"]
    shown = safemerge("history", "nights").out
    assert "regression" in shown


def test_a_baseline_and_a_policy_of_ones_own(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write("release", [0.0] * 200)
    for day in (1, 2):
        write(f"nights/{day}", [1.0] * 30 + [0.0] * 170, date=NIGHTS[day - 1], model="main")
    assert safemerge("check", "freeze", "release", "--out", "base.json").status == 0

    def verdicts(*words: str) -> list[str | None]:
        done = safemerge("history", "nights", "--json", *words)
        assert done.status == 0, done.err
        return [run["verdict"] for run in json.loads(done.out)[0]["runs"]]

    assert verdicts() == [None, "passed"]
    assert verdicts("--baseline", "base.json") == ["regression"] * 2
    assert verdicts("--baseline", "release") == ["regression"] * 2
    (tmp_path / "p.yaml").write_text("tasks: {toy_asr: {metrics: {asr: {max_increase: 0.3}}}}")
    assert verdicts("--baseline", "base.json", "--policy", "p.yaml") == ["passed"] * 2
    (tmp_path / "p.yaml").write_text("tasks: {other: {metrics: {asr: {max_increase: 0.3}}}}")
    assert verdicts("--baseline", "base.json", "--policy", "p.yaml") == [None] * 2


def test_when_it_changed(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    for day, harmful in enumerate((3, 2, 3, 20, 21, 19), 1):
        outcomes = [float(number < harmful) for number in range(100)]
        date = f"2026-01-0{day}T00-00-00.000001"
        write(f"nights/{day}", outcomes, date=date, model="main")
    done = safemerge("history", "nights", "--json", "--plot", "drift.png")
    (change,) = json.loads(done.out)[0]["changes"]
    assert change["date"].startswith("2026-01-04")
    assert change["before"] == pytest.approx(8 / 300)
    assert change["after"] == pytest.approx(0.2)
    assert change["confidence"] > 0.999
    said = safemerge("history", "nights").out
    assert "Changed on 2026-01-04: 2.7% before, 20.0% since" in said
    # A night of other questions is left out.
    write(
        "nights/7", samples=False, date="2026-01-07T00-00-00.000001", model="main", outcomes=[1.0]
    )
    assert json.loads(safemerge("history", "nights", "--json").out)[0]["changes"] == [change]


def test_a_night_of_other_settings_is_no_change(
    write: Callable[..., Any], safemerge: Callable[..., Any]
) -> None:
    for day, harmful in enumerate((2, 3, 60, 2, 3, 2), 1):
        outcomes = [float(number < harmful) for number in range(100)]
        more = {"versions": {"toy_asr": 2.0}} if day == 3 else {}
        date = f"2026-01-0{day}T00-00-00.000001"
        write(f"nights/{day}", outcomes, date=date, model="main", **more)
    (record,) = json.loads(safemerge("history", "nights", "--json").out)
    verdicts = [run["verdict"] for run in record["runs"]]
    assert verdicts == [None, "passed", None, "passed", "passed", "passed"]
    assert "version (" in record["runs"][2]["reason"]
    assert record["changes"] == []


def test_a_bound_that_is_nowhere_is_null_in_json(
    write: Callable[..., Any], safemerge: Callable[..., Any]
) -> None:
    """One question with graded outcomes has no bounds, and JSON no infinity."""
    for day, outcome in ((0, 0.3), (1, 0.7)):
        write(f"nights/{day}", [outcome], date=NIGHTS[day], model="main")
    done = safemerge("history", "nights", "--json")
    assert done.status == 0
    (record,) = json.loads(done.out, parse_constant=pytest.fail)
    assert record["drift"]["lower"] is None
    assert record["drift"]["increase"] == pytest.approx(0.4)


def test_a_copy_of_a_night_is_no_other_night(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write_nights(write)
    shutil.copytree(tmp_path / "nights/1", tmp_path / "nights/copy")
    (series,) = read_history([tmp_path / "nights"])
    assert [night.date for night in series.nights] == NIGHTS
    # Another run of that date, and one whose name has no date.
    run = write("nights/copy", [1.0] * 40, date=NIGHTS[1], model="main")
    assert "do not say which is later" in safemerge("history", "nights").err
    shutil.rmtree(tmp_path / "nights/copy")
    run = write("nights/renamed", [1.0] * 40, model="main")
    run.path.rename(run.path.with_name("results_first.json"))
    done = safemerge("history", "nights")
    assert done.status == 2
    assert "results_first.json and" in done.err


def test_a_plot_is_not_drawn_over_results(
    write: Callable[..., Any], safemerge: Callable[..., Any], tmp_path: Path
) -> None:
    write_nights(write)
    path = next((tmp_path / "nights/1").rglob("results_*"))
    assert "would write over" in safemerge("history", "nights", "--plot", path).err
    assert json.loads(path.read_text())
