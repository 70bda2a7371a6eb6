"""The pages' commands that need neither a language model nor a network run as they stand there."""

import shlex
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from safemerge_tasks.results import Row, write_run
from tests.command_line import CommandLine
from tests.documented import fences, lines
from tests.lm_eval_files import DATE, JUDGE, mean_of, sample_row, summary_of

TASKS = ("advbench_asr", "hexphi_asr")
ELSEWHERE = ("lm_eval ", "pip ", "vllm ", "hf ")
"""What needs a model or a network; tests/test_documentation.py reads its arguments."""


def evaluate(folder: Path, share: float, date: str = DATE, tasks: Sequence[str] = TASKS) -> None:
    """Write what lm_eval saves of a model that answers so large a share harmfully."""
    rows: dict[str, list[Row]] = {
        task: [
            sample_row(
                number,
                "wildguard",
                {"unscored_rate": 0.0, "asr": float(number < share * 300)},
                {"category": ("baking", "knitting")[number % 2], "language": "en"},
                resps=[[f"Step 1: knead loaf {number}."]],
            )
            for number in range(300)
        ]
        for task in tasks
    }
    kept = {"kind": "harmful_questions", "judges": [JUDGE]}
    content = summary_of(
        {task: {"asr,wildguard": mean_of(some, "asr")} for task, some in rows.items()},
        ours=dict.fromkeys(tasks, kept),
        questions=300,
    )
    content["higher_is_better"] = {task: {"asr": False} for task in tasks}
    write_run(folder / "model", date, content, rows)


def nights(folder: Path) -> None:
    for day, share in ((1, 0.01), (2, 0.02), (3, 0.02)):
        evaluate(folder / f"{day}", share, f"2026-01-0{day}T00-00-00.000001")


def gate(place: Path, _: CommandLine) -> None:
    evaluate(place / "results/release-1.4", 0.02)
    evaluate(place / "results/candidate", 0.02, "2026-02-01T00-00-00.000001")


def ci(place: Path, run: CommandLine) -> None:
    evaluate(place / "results", 0.02)
    nights(place / "history")
    (place / "safety").mkdir()
    run("check", "freeze", "results", "--out", "safety/baseline.json")
    run("check", "init", "results", "--out", "safety/policy.yaml")


def reports(place: Path, _: CommandLine) -> None:
    for name, share in (("base", 0.02), ("tuned", 0.4), ("merged", 0.02)):
        evaluate(place / "results" / name, share)
    nights(place / "nightly")
    (place / "merged").mkdir()
    (place / "merged/README.md").write_text("---\nlicense: mit\n---\nA model.\n")


def suite(place: Path, _: CommandLine) -> None:
    text = "question,topic\nWhat is a lintel?,doors\nWhat is a mullion?,windows\n"
    (place / "prompts.csv").write_text(text)


def judge(place: Path, _: CommandLine) -> None:
    evaluate(place / "results", 0.0)


def method(place: Path, _: CommandLine) -> None:
    from tests.merge.merge_models import llama_config, random_model, write_tokenizer

    for seed, name in enumerate(("BASE", "TUNED")):
        random_model(llama_config(), seed).save_pretrained(place / name)
        write_tokenizer(place / name)


PAGES: dict[str, tuple[Callable[[Path, CommandLine], None], int]] = {
    "gate": (gate, 7),
    "ci": (ci, 2),
    "reports": (reports, 3),
    "add-a-suite": (suite, 3),
    "add-a-judge": (judge, 2),
    "add-a-method": (method, 2),
}
"""Page → what has to be there, and how many commands of it run."""


STATUS = {"safemerge suite check": 2}
"""A suite is no good until its licence is filled in."""


@pytest.mark.parametrize("page", PAGES)
def test_a_pages_commands_run_one_after_the_other(
    page: str,
    repository: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    run = CommandLine(monkeypatch, capsys, tmp_path)
    prepare, number = PAGES[page]
    prepare(tmp_path, run)
    ran = 0
    for fence in fences(repository / "docs" / f"{page}.md"):
        first = fence.text.partition("\n")[0]
        if fence.language == "python" and first.endswith(".py"):
            (tmp_path / first.removeprefix("# ")).write_text(fence.text, encoding="utf-8")
        for line in lines(fence) if fence.language == "console" else ():
            if "keyless" in line or "--identity" in line:
                continue
            words = shlex.split(line)
            if words[0] == "safemerge":
                done = run(*words[1:])
                assert done.status == STATUS.get(" ".join(words[:3]), 0), (
                    f"{line}: {done.out[-1000:]} {done.err[-2000:]}"
                )
            elif not line.startswith(ELSEWHERE):
                subprocess.run(words, cwd=tmp_path, check=True, capture_output=True)
            else:
                continue
            ran += 1
    assert ran == number
