"""Licence, citation, changelog and our own workflows agree with the package and with each other."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml


@pytest.fixture
def project(repository: Path) -> Any:
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def test_the_licence_is_apaches_in_full(project: Any, repository: Path) -> None:
    assert project["license"] == "Apache-2.0"
    text = "".join((repository / name).read_text("utf-8") for name in project["license-files"])
    assert "TERMS AND CONDITIONS FOR USE, REPRODUCTION, AND DISTRIBUTION" in text
    assert re.search(r"Copyright \d{4} the safemerge authors\n", text)
    assert "[yyyy]" not in text


def test_the_citation_names_this_version_and_both_papers(project: Any, repository: Path) -> None:
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project["version"]
    assert citation["license"] == project["license"]
    assert citation["repository-code"] == project["urls"]["Repository"]
    papers = [paper["identifiers"][0]["value"] for paper in citation["references"]]
    assert papers == ["arXiv:2412.19512", "arXiv:2402.11746"]


def test_the_changelog_has_a_place_for_what_comes_next(project: Any, repository: Path) -> None:
    text = (repository / "CHANGELOG.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## \[(.+?)\]", text, re.MULTILINE)
    assert headings[0] == "Unreleased"
    assert project["version"] in text
    kinds = re.findall(r"^### (.+)$", text, re.MULTILINE)
    assert set(kinds) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_workflows_pin_actions_read_only_and_use_no_secrets(repository: Path) -> None:
    workflows = list((repository / ".github/workflows").glob("*.yml"))
    assert workflows
    for workflow in workflows:
        text = workflow.read_text(encoding="utf-8")
        assert "secrets" not in text
        read = yaml.safe_load(text)
        assert read["permissions"] == {"contents": "read"}
        steps = [step for job in read["jobs"].values() for step in job["steps"]]
        for step in steps:
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/none@v0"))
        assert ".ci/run" in [step.get("run") for step in steps]
