"""The action and the recipes are what they claim to be."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from safemerge_tasks.gate.policy import Policy


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


@pytest.mark.parametrize("status", [0, 1])
def test_its_script_runs(action: Any, tmp_path: Path, status: int) -> None:
    """With a stand-in for Python that records its arguments and answers as told."""
    stub = tmp_path / "python"
    stub.write_text(
        f"#!{sys.executable}\nimport json, os, sys\n"
        "if sys.argv[1] == '-c':\n"
        "    os.execv(sys.executable, [sys.executable, *sys.argv[1:]])\n"
        f"open('words.json', 'w').write(json.dumps(sys.argv[1:]))\n"
        "open(sys.argv[sys.argv.index('--json') + 1], 'w').write('{\"outcome\": \"x\"}')\n"
        f"sys.exit({status})\n"
    )
    stub.chmod(0o755)
    given = {
        "PYTHON": str(stub),
        "BASELINE": "a b; touch hacked",
        "CANDIDATE": "c",
        "POLICY": "",
        "ACCEPT": "questions",
        "REPORTS": "out",
        "GITHUB_OUTPUT": str(tmp_path / "output"),
    }
    done = subprocess.run(
        ["bash", "-e", "-o", "pipefail", "-c", action["runs"]["steps"][1]["run"]],
        cwd=tmp_path,
        env={**os.environ, **given},
        check=False,
    )
    assert done.returncode == status
    words = json.loads((tmp_path / "words.json").read_text())
    assert words[words.index("--baseline") + 1] == "a b; touch hacked"
    assert "--policy" not in words
    assert (tmp_path / "output").read_text() == "report=out/report.json\noutcome=x\n"


def test_every_recipe_in_the_documentation_parses(repository: Path) -> None:
    text = (repository / "docs/ci.md").read_text(encoding="utf-8")
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
