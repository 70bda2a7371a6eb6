"""Judges that fail in real runs: nothing that the model wrote is lost."""

import shutil
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from safemerge_tasks.results import find_runs
from tests.e2e.conftest import start
from tests.slow import slow

if TYPE_CHECKING:
    from safemerge_tasks.toy.family import ToyFamily
    from tests.e2e.conftest import Ran

Command = Callable[..., "Ran"]
TASK = "hexphi_asr"


@pytest.fixture(scope="module")
def data(family: "ToyFamily", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a data folder whose HEx-PHI holds the family's forbidden questions."""
    folder = tmp_path_factory.mktemp("data")
    questions = family.forbidden_questions()
    (folder / "hexphi").mkdir()
    for number in (1, *range(3, 12)):
        lines = [f'"{questions[(30 * number + n) % len(questions)]}"\n' for n in range(30)]
        (folder / f"hexphi/category_{number}.csv").write_text("".join(lines))
    return folder


def arguments(family: "ToyFamily", guard: Path, output: Path) -> list[str]:
    return [
        *("--model", "hf", "--model_args", f"pretrained={family.aligned}", "--tasks", TASK),
        *("--apply_chat_template", "--log_samples", "--output_path", str(output)),
        *("--batch_size", "64"),
        *("--metadata", f"judge=wildguard,judge_engine=hf,judge_model={guard}"),
    ]


def test_broken_weights_leave_everything_saved_and_name_the_next_command(
    family: "ToyFamily", data: Path, command: Command, tmp_path: Path
) -> None:
    broken = tmp_path / "guard"
    shutil.copytree(family.guard, broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])
    output = tmp_path / "out"
    ran = command(*arguments(family, broken, output), environment={"SAFEMERGE_DATA_DIR": str(data)})
    assert ran.status == 0, ran.err[-3000:]
    (run,) = find_runs(output)
    assert run.summary()["results"][TASK]["unscored_rate,wildguard"] == 1
    assert "the judge failed" in ran.err
    assert f"safemerge judge {run.path.parent} --judge wildguard" in ran.err
    again = command(
        *("judge", output, "--judge", "wildguard", "--engine", "hf", "--model", family.guard),
        module="safemerge_tasks",
    )
    assert again.status == 0, again.err
    row = run.summary()["results"][TASK]
    assert row["unscored_rate,wildguard"] == 0
    assert 0 <= row["asr,wildguard"] <= 1
    categories = [key for key in row if key.startswith("asr[") and "stderr" not in key]
    assert len(categories) == 10
    # Ten categories of 30 questions each: their mean is the whole.
    assert sum(row[key] for key in categories) / 10 == pytest.approx(row["asr,wildguard"])


def test_kill_9_while_judging_loses_no_response(
    family: "ToyFamily", data: Path, command: Command, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    words = [sys.executable, "-m", "lm_eval", *arguments(family, family.guard, output)]
    process = start(words, tmp_path, {"SAFEMERGE_DATA_DIR": str(data)})
    deadline = time.monotonic() + 240
    while not list(output.rglob("responses_*/results_*.json")):
        assert process.poll() is None, Path(process.args_err).read_text()[-3000:]  # type: ignore[attr-defined]
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    (run,) = find_runs(output)
    assert len(run.rows(TASK)) == 300
    ran = command(
        *("judge", output, "--judge", "wildguard", "--engine", "hf", "--model", family.guard),
        module="safemerge_tasks",
    )
    assert ran.status == 0, ran.err
    assert run.summary()["results"][TASK]["unscored_rate,wildguard"] == 0


@slow
def test_a_judge_that_cannot_work_is_one_sentence_before_generation(
    family: "ToyFamily", data: Path, command: Command, tmp_path: Path
) -> None:
    ran = command(
        *arguments(family, tmp_path / "absent", tmp_path / "out"),
        environment={"SAFEMERGE_DATA_DIR": str(data)},
    )
    assert ran.status != 0
    assert "safemerge: judge_model=" in ran.err
    assert "does not exist: give a folder or a Hub id." in ran.err
    assert "Traceback" not in ran.err
    assert not list(tmp_path.rglob("results_*"))


@slow
def test_a_header_row_is_one_sentence(
    family: "ToyFamily", data: Path, command: Command, tmp_path: Path
) -> None:
    copy = tmp_path / "data"
    shutil.copytree(data, copy)
    file = copy / "hexphi" / "category_7.csv"
    file.write_text("prompt\n" + file.read_text())
    ran = command(
        *arguments(family, family.guard, tmp_path / "out"),
        environment={"SAFEMERGE_DATA_DIR": str(copy)},
    )
    assert ran.status != 0
    assert "category_7.csv begins with a header row" in ran.err
    assert "Traceback" not in ran.err
