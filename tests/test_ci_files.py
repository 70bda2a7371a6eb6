"""The action and the recipes are what they claim to be."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from safemerge_tasks.gate.policy import Policy
from tests.programs import first_lines


@pytest.fixture
def action(repository: Path) -> Any:
    return yaml.safe_load((repository / "action.yml").read_text(encoding="utf-8"))


def test_the_action_is_composite_and_documented(action: Any) -> None:
    assert action["runs"]["using"] == "composite"
    for part in (*action["inputs"].values(), *action["outputs"].values()):
        assert part["description"]
    for step in action["runs"]["steps"]:
        assert step["shell"] == "bash"
        assert "${{" not in step["run"]  # an input there would be read as a command


STAND_IN = """{begin}import json, sys
open('words.json', 'w').write(json.dumps(sys.argv[1:]))
if {report!r}:
    open(sys.argv[sys.argv.index('--json') + 1], 'w').write({report!r})
sys.exit({status})
"""


class Workflow:
    """Runs the action's step in a folder, with a Python that has some `safemerge` beside it."""

    def __init__(self, script: str, folder: Path) -> None:
        self._script = script
        self.folder = folder
        self._bin = folder / "environment"
        self._bin.mkdir()
        # A Python whose scripts lie in that folder.
        python = self._bin / "python"
        python.write_text(
            first_lines() + "import os, sys\n"
            "if 'sysconfig' in sys.argv[3]:\n"
            f"    print({str(self._bin)!r})\n"
            "else:\n"
            "    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        )
        python.chmod(0o755)

    def install(self, text: str) -> None:
        script = self._bin / "safemerge"
        script.write_text(text)
        script.chmod(0o755)

    def run(self, **more: str) -> subprocess.CompletedProcess[str]:
        given = {
            "PYTHON": str(self._bin / "python"),
            "BASELINE": "a b; touch hacked",
            "CANDIDATE": "c",
            "POLICY": "",
            "ACCEPT": "questions",
            "REPORTS": "out",
            "GITHUB_OUTPUT": str(self.folder / "output"),
            "PATH": "/usr/bin:/bin",
            **more,
        }
        return subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", self._script],
            cwd=self.folder,
            env=given,
            check=False,
            capture_output=True,
            text=True,
        )


@pytest.fixture
def workflow(action: Any, tmp_path: Path) -> Workflow:
    return Workflow(action["runs"]["steps"][1]["run"], tmp_path)


@pytest.mark.parametrize("status", [0, 1, 2])
def test_its_script_runs(workflow: Workflow, status: int) -> None:
    """With a stand-in for safemerge that records its arguments and answers as told."""
    report = json.dumps({"outcome": "x", "exit_status": status})
    workflow.install(STAND_IN.format(begin=first_lines(), report=report, status=status))
    done = workflow.run()
    assert done.returncode == status, done.stderr
    words = json.loads((workflow.folder / "words.json").read_text())
    assert words[0] == "check"
    assert words[words.index("--baseline") + 1] == "a b; touch hacked"
    assert "--policy" not in words
    output = (workflow.folder / "output").read_text()
    assert output == "report=out/report.json\noutcome=x\n"


@pytest.mark.parametrize(
    ("report", "status", "ends"),
    [
        ("", 0, 2),  # nothing was compared, whatever the status says
        ("", 1, 2),  # a crash of anything, which is no regression
        ("", 3, 3),
        ('{"outcome": "regression", "exit_status": 1}', 0, 2),
        ('{"outcome": "regre', 1, 2),  # cut off: nothing says that the status is the report's
    ],
)
def test_it_passes_no_candidate_that_was_not_compared(
    workflow: Workflow, report: str, status: int, ends: int
) -> None:
    workflow.install(STAND_IN.format(begin=first_lines(), report=report, status=status))
    done = workflow.run()
    assert done.returncode == ends
    assert "::error title=safemerge::" in done.stdout


def test_it_fails_without_a_safemerge(workflow: Workflow) -> None:
    done = workflow.run()
    assert done.returncode == 2
    assert "there is no safemerge" in done.stdout


@pytest.mark.parametrize("reports", ["", "taken", "/proc/none"])
def test_a_folder_that_cannot_be_is_no_regression(workflow: Workflow, reports: str) -> None:
    workflow.install(STAND_IN.format(begin=first_lines(), report="", status=0))
    (workflow.folder / "taken").write_text("a file")
    done = workflow.run(REPORTS=reports)
    assert done.returncode == 2
    assert "nothing can be written in the folder" in done.stdout


def test_its_outputs_are_one_line_each(workflow: Workflow) -> None:
    workflow.install(STAND_IN.format(begin=first_lines(), report="", status=0))
    assert workflow.run(REPORTS="a\nevil=1").returncode == 2
    assert not (workflow.folder / "output").exists()


ORDINARY = """
import argparse
if __name__ == "__main__":
    argparse.ArgumentParser().parse_args()
"""


@pytest.mark.parametrize("content", ["print('mine')\nraise SystemExit(0)\n", ORDINARY])
def test_nothing_in_the_checkout_takes_part(
    workflow: Workflow, repository: Path, content: str
) -> None:
    """The real command, on folders that are not there, beside files of telling names."""
    for name in ("merge", "json", "typer", "sysconfig", "yaml"):
        (workflow.folder / f"{name}.py").write_text(content)
    command = "from safemerge_tasks.cli import main; main()"
    workflow.install(f"{first_lines('-P')}import sys\n{command}\n")
    done = workflow.run(PYTHONPATH=str(repository))
    assert done.returncode == 2, done.stdout + done.stderr
    assert "mine" not in done.stdout
    assert "does not exist" in done.stderr


def test_every_recipe_in_the_documentation_parses(repository: Path) -> None:
    text = "".join(
        (repository / "docs" / page).read_text(encoding="utf-8") for page in ("gate.md", "ci.md")
    )
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert len(blocks) == 3
    Policy.model_validate(next(block for block in blocks if "tasks" in block))
    workflow = next(block for block in blocks if "jobs" in block)
    action = yaml.safe_load((repository / "action.yml").read_text(encoding="utf-8"))
    used = next(
        step for step in workflow["jobs"]["safety"]["steps"] if step.get("uses") == "./safemerge"
    )
    assert set(used["with"]) <= set(action["inputs"])
    for shell in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        subprocess.run(["bash", "-n", "-c", shell], check=True)
