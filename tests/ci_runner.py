"""As much of GitHub's and GitLab's runners as the recipes need: how they start steps and read them.

GitHub: workflow commands and files (docs.github.com, "Workflow commands for GitHub Actions") and
composite actions; GitLab: `script`, `artifacts` and JUnit reports (docs.gitlab.com, "CI/CD YAML").
"""

import os
import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.programs import first_lines

SUMMARY_BYTES = 1024 * 1024
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")
_COMMAND = re.compile(r"::(error|warning|notice)(?: ([^:]*))?::(.*)")


@dataclass
class Job:
    """What a job left behind.

    Attributes:
        failed: a step failed.
        outputs: of the steps, by `step.output`.
        annotations: level, title and message of each.
        summary: what the page of the run shows; empty if a step wrote more than it may.
        said: all that was printed.
        folder: where it ran.
    """

    folder: Path
    failed: bool = False
    outputs: dict[str, str] = field(default_factory=dict)
    annotations: list[tuple[str, str, str]] = field(default_factory=list)
    summary: str = ""
    said: str = ""


def install(folder: Path, repository: Path, **scripts: str) -> Path:
    """Return a folder of programs with the real `safemerge`, and stand-ins of one's own.

    Args:
        folder: where to make it.
        repository: whose `safemerge`.
        scripts: name of a program → its text.
    """
    programs = folder / "programs"
    programs.mkdir(exist_ok=True)
    real = f"import sys; sys.path.insert(0, {str(repository)!r})\n"
    real += "from safemerge_tasks.cli import main; main()\n"
    for name, text in {"safemerge": first_lines() + real, **scripts}.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    return programs


def run_steps(
    steps: list[Mapping[str, Any]], folder: Path, programs: Path, actions: Mapping[str, Any]
) -> Job:
    """Run a workflow's steps in a folder.

    Args:
        steps: of a job.
        folder: the workspace.
        programs: comes first among the places of programs.
        actions: address → content of its `action.yml`; a step that uses another one does nothing.
    """
    job = Job(folder)
    for step in steps:
        if job.failed and "always()" not in str(step.get("if", "")):
            continue
        if "run" in step:
            _run(job, step, {}, programs)
        elif action := actions.get(step["uses"]):
            _use(job, action, step.get("with", {}), programs)
    return job


def _use(job: Job, action: Any, given: Mapping[str, Any], programs: Path) -> None:
    assert set(given) <= set(action["inputs"])
    inputs = {
        f"inputs.{name}": str(given.get(name, one.get("default", "")))
        for name, one in action["inputs"].items()
    }
    for name, one in action["inputs"].items():
        assert name in given or not one.get("required"), name
    for step in action["runs"]["steps"]:
        if job.failed or not _holds(str(step.get("if", "")), inputs):
            continue
        _run(job, step, inputs, programs)
    for name, one in action["outputs"].items():
        known = {f"steps.{key.replace('.', '.outputs.')}": v for key, v in job.outputs.items()}
        job.outputs[f"action.{name}"] = _filled(one["value"], known)


def _holds(condition: str, values: Mapping[str, str]) -> bool:
    if not condition:
        return True
    found = re.fullmatch(r"([\w.]+) != ''", condition)
    assert found, condition
    return values[found[1]] != ""


def _run(job: Job, step: Mapping[str, Any], values: Mapping[str, str], programs: Path) -> None:
    assert step.get("shell", "bash") == "bash"
    files = {
        name: job.folder / f".{name.lower()}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")
    }
    for path in files.values():
        path.write_text("")
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "HOME": str(job.folder),
        "GITHUB_ACTIONS": "true",
        "CI": "true",
        "GITHUB_WORKSPACE": str(job.folder),
        **{name: str(path) for name, path in files.items()},
        **{name: _filled(str(text), values) for name, text in step.get("env", {}).items()},
    }
    words = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
    done = subprocess.run(
        words, cwd=job.folder, env=environment, capture_output=True, text=True, check=False
    )
    job.said += done.stdout + done.stderr
    job.failed |= done.returncode != 0
    for line in done.stdout.splitlines():
        if found := _COMMAND.fullmatch(line):
            title = re.search(r"title=([^,]*)", found[2] or "")
            job.annotations.append(
                (found[1], unquote(title[1]) if title else "", unquote(found[3]))
            )
    for line in files["GITHUB_OUTPUT"].read_text().splitlines():
        name, equals, value = line.partition("=")
        assert equals, line
        job.outputs[f"{step.get('id', '')}.{name}"] = value
    summary = files["GITHUB_STEP_SUMMARY"].read_bytes()
    job.summary += summary.decode() if len(summary) <= SUMMARY_BYTES else ""


def _filled(text: str, values: Mapping[str, str]) -> str:
    return _EXPRESSION.sub(lambda found: values.get(found[1], ""), text)


@dataclass
class Pipeline:
    """What a GitLab job left behind: its status, and the files that are kept."""

    status: int
    said: str
    kept: dict[str, Path]


def run_gitlab(job: Mapping[str, Any], folder: Path, programs: Path) -> Pipeline:
    """Run a job's script as the shell executor does."""
    script = "\n".join(job["script"])
    environment = {
        **os.environ,
        "PATH": f"{programs}:/usr/bin:/bin",
        "GITLAB_CI": "true",
        "CI": "true",
    }
    environment.pop("GITHUB_ACTIONS", None)
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env={**environment, "CANDIDATE": "/models/candidate"},
        capture_output=True,
        text=True,
        check=False,
    )
    artifacts = job["artifacts"]
    kept = artifacts["when"] == "always" or done.returncode == 0
    paths = {*artifacts["paths"], artifacts["reports"]["junit"]}
    found = {name: folder / name for name in paths if kept and (folder / name).is_file()}
    return Pipeline(done.returncode, done.stdout + done.stderr, found)
