"""The wheel in an environment of its own: tasks come with it and go with it."""

import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

TASKS = ("advbench_asr", "hexphi_asr", "catqa_asr", "overrefusal", "safemerge_safety")


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a virtual environment with a copy of lm-eval and, by reference, all it needs."""
    folder = tmp_path_factory.mktemp("environment")
    venv.create(folder, with_pip=True)
    ours = Path(sysconfig.get_path("purelib"))
    theirs = next((folder / "lib").glob("python*/site-packages"))
    shutil.copytree(ours / "lm_eval", theirs / "lm_eval", ignore=_without_our_tasks)
    for metadata in ours.glob("lm_eval-*.dist-info"):
        shutil.copytree(metadata, theirs / metadata.name)
    needed = theirs / "needed"
    needed.mkdir()
    skipped = ("lm_eval", "safemerge", "_editable_impl_safemerge", "__editable__")
    for path in ours.iterdir():
        if not path.name.startswith(skipped) and path.suffix != ".pth":
            (needed / path.name).symlink_to(path)
    (theirs / "needed.pth").write_text(f"{needed}\n")
    return folder


def _without_our_tasks(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "safemerge" and folder.endswith("tasks")]


def listed(environment: Path) -> set[str]:
    shown = subprocess.run(
        [environment / "bin" / "python", "-m", "lm_eval", "ls", "tasks"],
        check=True,
        capture_output=True,
        text=True,
        cwd=environment,
    )
    return {task for task in TASKS if f"|{task} " in shown.stdout}


def test_tasks_come_with_the_wheel_and_go_with_it(
    environment: Path, repository: Path, tmp_path: Path
) -> None:
    build = ["-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, repository]
    subprocess.run([sys.executable, *map(str, build), "--quiet"], check=True)
    (wheel,) = tmp_path.glob("safemerge-*.whl")
    with zipfile.ZipFile(wheel) as content:
        names = set(content.namelist())
    assert {
        f"safemerge_tasks/judges/prompts/wildguard{end}" for end in (".txt", ".LICENSE.md")
    } < names
    assert "safemerge_tasks/task_configs/advbench/advbench_asr.yaml" in names
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in names)
    python = environment / "bin" / "python"
    assert listed(environment) == set()
    subprocess.run([python, "-m", "pip", "install", "--no-deps", "--quiet", wheel], check=True)
    assert listed(environment) == set(TASKS)
    subprocess.run([python, "-m", "pip", "uninstall", "--yes", "--quiet", "safemerge"], check=True)
    assert listed(environment) == set()
    left = [path for path in environment.rglob("*") if "safemerge" in path.name and path.is_file()]
    assert left == []
    assert not list(environment.rglob("tasks/safemerge"))
