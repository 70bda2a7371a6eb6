"""The recipes for CI do what they say, run as the servers would run them; models are absent."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from junitparser import JUnitXml

from safemerge_tasks.gate.policy import EVERY, read_policy
from safemerge_tasks.results import Row, write_run
from tests.ci_runner import Job, install, run_gitlab, run_steps
from tests.lm_eval_files import DATE, JUDGE, documents_of, mean_of, sample_row, summary_of
from tests.programs import first_lines

EVALUATION = """#!/bin/bash
# Stands for pip and lm_eval: what they would have left is there already.
echo "$(basename "$0") $*" >> called
case "$0" in *lm_eval) mkdir -p "$(dirname results)"; cp -r evaluated results;; esac
"""
VENV = """#!/bin/bash
# Stands for `python3 -m venv DIR`: programs of a new environment.
mkdir -p "$3/bin"
for name in pip lm_eval safemerge; do cp "$(dirname "$0")/$name" "$3/bin/$name"; done
{quoted} - "$3/bin/python" <<'EOF'
import pathlib, sys
path = pathlib.Path(sys.argv[1])
path.write_text({begin!r} + '''import os, sys
if "sysconfig" in sys.argv[-1]:
    print(os.path.dirname(os.path.abspath(__file__)))
else:
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
''')
path.chmod(0o755)
EOF
"""
TASKS = ("advbench_asr", "hexphi_asr")


def harmful(number: int, outcome: float | None, **doc: Any) -> Row:
    metrics = {"unscored_rate": float(outcome is None)}
    if outcome is not None:
        metrics["asr"] = outcome
    return sample_row(number, "wildguard", metrics, {"category": f"kind {number % 10}", **doc})


def evaluate(folder: Path, share: float, tasks: tuple[str, ...] = TASKS, **doc: Any) -> None:
    """Write what lm_eval writes of 300 questions a task, of which a share is answered harmfully."""
    rows = {task: [harmful(n, float(n < 300 * share), **doc) for n in range(300)] for task in tasks}
    results = {task: {"asr,wildguard": mean_of(some, "asr")} for task, some in rows.items()}
    kept = {"kind": "harmful_questions", "judges": [JUDGE]}
    content = summary_of(
        results,
        ours=dict.fromkeys(tasks, kept),
        questions={task: documents_of(some) for task, some in rows.items()},
    )
    content["higher_is_better"] = {task: {"asr": False} for task in tasks}
    write_run(folder / "model", DATE, content, rows)


@pytest.fixture
def recipes(repository: Path) -> list[Any]:
    text = "".join(
        (repository / "docs" / page).read_text(encoding="utf-8") for page in ("gate.md", "ci.md")
    )
    return [yaml.safe_load(one) for one in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]


@pytest.fixture
def place(tmp_path: Path, repository: Path, recipes: list[Any]) -> Path:
    """Return a project with a baseline and a policy of the documentation, made by the commands."""
    install(
        tmp_path,
        repository,
        pip=EVALUATION,
        lm_eval=EVALUATION,
        python3=VENV.format(
            python=sys.executable, quoted=shlex.quote(sys.executable), begin=first_lines()
        ),
    )
    (tmp_path / "safety").mkdir()
    evaluate(tmp_path / "release", 0.02)
    safemerge = tmp_path / "programs/safemerge"
    words = ["check", "freeze", "release", "--out", "safety/baseline.json"]
    subprocess.run([safemerge, *words], cwd=tmp_path, check=True, capture_output=True)
    policy = next(one for one in recipes if "tasks" in one)
    policy["tasks"] = {"advbench_asr": policy["tasks"]["advbench_asr"]}
    (tmp_path / "safety/policy.yaml").write_text(yaml.safe_dump(policy))
    return tmp_path


@pytest.fixture
def github(place: Path, repository: Path, recipes: list[Any]) -> Callable[[], Job]:
    action = yaml.safe_load((repository / "action.yml").read_text(encoding="utf-8"))
    workflow = next(one for one in recipes if "jobs" in one)

    def run() -> Job:
        steps = workflow["jobs"]["safety"]["steps"]
        return run_steps(steps, place, place / "programs", {"./safemerge": action})

    return run


def test_github_passes_a_candidate_that_is_as_safe(place: Path, github: Callable[[], Job]) -> None:
    evaluate(place / "evaluated", 0.02)
    job = github()
    assert not job.failed, job.said
    assert job.outputs["action.outcome"] == "passed"
    assert job.annotations == []
    assert "## Safety gate ✅ passed" in job.summary
    called = (place / "called").read_text().splitlines()
    assert called[0] == "pip install safemerge[vllm]"
    assert called[1].startswith("lm_eval --model vllm")
    assert json.loads((place / job.outputs["action.report"]).read_text())["exit_status"] == 0


def test_github_stops_one_that_is_not(place: Path, github: Callable[[], Job]) -> None:
    evaluate(place / "evaluated", 0.3)
    job = github()
    assert job.failed
    assert job.outputs["action.outcome"] == "regression"
    assert {level for level, _, _ in job.annotations} == {"error"}
    assert job.annotations[0][1] == "safemerge: advbench_asr"
    assert "the increase is at least" in job.annotations[0][2]
    assert "REGRESSION" in job.summary
    assert "loaf" not in job.summary + job.said
    reports = place / "safemerge-reports"
    # What the last step uploads; read as servers read it.
    suites = list(JUnitXml.fromfile(str(reports / "junit.xml")))
    assert [one.name for one in suites if one.failures] == ["advbench_asr"]
    sarif = json.loads((reports / "report.sarif").read_text())
    assert sarif["runs"][0]["results"][0]["level"] == "error"


def test_github_shows_a_summary_however_much_there_is_to_show(
    place: Path, github: Callable[[], Job]
) -> None:
    policy = yaml.safe_load((place / "safety/policy.yaml").read_text())
    metrics = policy["tasks"]["advbench_asr"]
    policy["tasks"] = {f"task{n}_asr": metrics for n in range(14)}
    (place / "safety/policy.yaml").write_text(yaml.safe_dump(policy))
    many = tuple(policy["tasks"])
    # Ids of which every sign takes six bytes.
    label = {"id": "<" * 100, "language": "<" * 100}
    evaluate(place / "release2", 0.0, many, **label)
    evaluate(place / "evaluated", 0.9, many, **label)
    words = ["check", "freeze", "release2", "--out", "safety/baseline.json"]
    subprocess.run([place / "programs/safemerge", *words], cwd=place, check=True)
    job = github()
    assert job.failed
    assert "REGRESSION" in job.summary
    assert len((place / "safemerge-reports/report.md").read_bytes()) > 1024 * 1024


def test_github_cannot_decide_without_an_evaluation(place: Path, github: Callable[[], Job]) -> None:
    (place / "evaluated").mkdir()
    job = github()
    assert job.failed
    assert ("error", "safemerge", "no comparison was made") in job.annotations
    assert job.outputs["action.outcome"] == ""


@pytest.mark.parametrize(("share", "status", "failures"), [(0.02, 0, 0), (0.3, 1, 1)])
def test_gitlab(place: Path, recipes: list[Any], share: float, status: int, failures: int) -> None:
    evaluate(place / "evaluated", share)
    recipe = next(one for one in recipes if "script" in one.get("safety", {}))
    done = run_gitlab(recipe["safety"], place, place / "programs")
    assert done.status == status, done.said
    assert set(done.kept) == {"junit.xml", "report.md", "report.json"}
    (first, *_) = JUnitXml.fromfile(str(done.kept["junit.xml"]))
    assert (first.name, min(first.failures, 1)) == ("advbench_asr", failures)
    # GitLab tells cases apart by class and name.
    cases = [(case.classname, case.name) for case in first]
    assert len(set(cases)) == len(cases)


@pytest.mark.parametrize(("share", "status", "said"), [(0.02, 0, "release"), (0.3, 1, "less safe")])
def test_the_plain_shell(
    place: Path, repository: Path, share: float, status: int, said: str
) -> None:
    evaluate(place / "results", share, ("advbench_asr",))
    text = (repository / "docs/ci.md").read_text(encoding="utf-8")
    script = next(
        one for one in re.findall(r"```bash\n(.*?)```", text, re.DOTALL) if "case $?" in one
    ).replace("--baseline safety/baseline.json", "--baseline release1")
    evaluate(place / "release1", 0.02, ("advbench_asr",))
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=place,
        env={"PATH": f"{place}/programs:/usr/bin:/bin", "HOME": str(place)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert said in done.stdout.splitlines()[-1]


def test_the_policy_for_a_fine_tune_of_a_public_base(place: Path, repository: Path) -> None:
    path = repository / "examples/policies/fine-tune-of-a-public-base.yaml"
    policy = read_policy(path)
    # Every task of ours that it names is there, and its judges are.
    names = {one.stem for one in (repository / "task_configs").rglob("*.yaml")}
    assert set(policy.tasks) - {"gsm8k"} <= names
    assert policy.tasks["hexphi_asr"].metrics["asr"].categories[EVERY].min_questions == 30
    mine = yaml.safe_load(path.read_text(encoding="utf-8"))
    mine["tasks"] = {task: mine["tasks"][task] for task in TASKS}
    (place / "mine.yaml").write_text(yaml.safe_dump(mine))
    words = ("check", "--baseline", "release", "--policy", "mine.yaml", "--candidate")
    for share, status in ((0.02, 0), (0.2, 1)):
        evaluate(place / f"new{share}", share)
        done = subprocess.run(
            [place / "programs/safemerge", *words, f"new{share}"],
            cwd=place,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
