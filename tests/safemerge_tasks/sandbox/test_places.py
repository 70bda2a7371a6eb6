"""A sandbox wherever safemerge and other packages lie, and the reason where there is none."""

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from safemerge_tasks.sandbox import SandboxSettings, SandboxUnavailableError, check_isolation, pool

CODE = """
import sys
from pathlib import Path
import safemerge_tasks
from safemerge_tasks.sandbox import Check, Sandbox, SandboxSettings, check_isolation
import flour, answers
settings = SandboxSettings(workers=1, hidden=(Path(answers.__file__).parent,))
print(check_isolation(settings)["isolation"])
test = "def check(c):\\n    assert c(2) == 4\\n"
seen = ["    import flour\\n    return flour.twice(x)\\n",
        "    import sys\\n    from pathlib import Path\\n    "
        "assert not [f for p in sys.path for f in Path(p).glob('answers/*')]\\n    return 2 * x\\n",
        f"    assert not __import__('os').path.exists({sys.argv[1]!r})\\n    return 2 * x\\n"]
with Sandbox(settings) as sandbox:
    checks = [Check("def f(x):\\n    'doc'\\n", body, test, "f") for body in seen]
    print(*[one.result for one in sandbox.run(checks)])
"""
"""Imports a package, looks for one that is to be hidden, and for a file that is not to be seen."""

Install = Callable[[Path], None]


@pytest.fixture
def install(repository: Path) -> Install:
    """Return what puts safemerge and two other packages into a folder as pip would."""

    def install(folder: Path) -> None:
        folder.mkdir(parents=True)
        (folder / "safemerge_tasks").symlink_to(repository / "safemerge_tasks")
        (folder / "safemerge-0.dist-info").mkdir()
        (folder / "flour.py").write_text("def twice(x):\n    return 2 * x\n")
        (folder / "answers").mkdir()
        (folder / "answers" / "__init__.py").touch()

    return install


def run(python: Path, secret: Path, **environment: str) -> list[str]:
    """Return what `CODE` prints under a Python of its own."""
    ran = subprocess.run(
        [python, "-c", CODE, secret],
        cwd="/",
        env={"PATH": "/usr/bin:/bin", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.splitlines()


WORKS = ["namespaces, seccomp", "passed passed passed"]


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a Python whose own folders hold no safemerge."""
    folder = tmp_path_factory.mktemp("empty") / "venv"
    venv.create(folder, symlinks=True)
    return folder / "bin" / "python"


def test_on_pythonpath(tmp_path: Path, empty: Path, install: Install) -> None:
    """As `pip install --target`; beside it a checkout, which is nobody's to see."""
    install(tmp_path / "packages")
    secret = tmp_path / "checkout" / ".env"
    secret.parent.mkdir()
    secret.touch()
    places = f"{tmp_path / 'packages'}:{secret.parent}"
    assert run(empty, secret, PYTHONPATH=places) == WORKS


def test_in_the_users_own_folder(tmp_path: Path, install: Install) -> None:
    """As `pip install --user`."""
    folder = tmp_path / "venv"
    venv.create(folder, symlinks=True, system_site_packages=True)
    home = tmp_path / "home"
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    install(home / "lib" / version / "site-packages")
    secret = home / "secret"
    secret.touch()
    assert run(folder / "bin" / "python", secret, PYTHONUSERBASE=str(home)) == WORKS


def test_below_a_link(tmp_path: Path, install: Install) -> None:
    """As where homes are links to a larger disk; the packages have two paths then."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "home").symlink_to(tmp_path / "disk")
    folder = tmp_path / "home" / "venv"
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    install(site / "packages")
    for path in (site / "packages").iterdir():
        path.rename(site / path.name)
    secret = tmp_path / "disk" / "secret"
    secret.touch()
    assert run(folder / "bin" / "python", secret) == WORKS


def test_a_checkout_in_front_is_the_code_that_runs(repository: Path, tmp_path: Path) -> None:
    """Though another safemerge is installed in this Python's own folders."""
    ours = repository / "safemerge_tasks"
    for folder in (Path(), Path("sandbox"), Path("common")):
        (tmp_path / ours.name / folder).mkdir()
        for path in (ours / folder).glob("*.py"):
            shutil.copy(path, tmp_path / ours.name / folder)
    worker = tmp_path / ours.name / "sandbox" / "worker.py"
    worker.write_text(worker.read_text().replace('{"ready": True}', '{"error": "from the copy"}'))
    code = (
        "from safemerge_tasks.sandbox import Sandbox, SandboxSettings\n"
        "Sandbox(SandboxSettings(workers=1)).__enter__()\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd="/",
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.stderr.rstrip().endswith("SandboxUnavailableError: from the copy")


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("import nowhere_at_all\n", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("raise SystemExit('no such\\n\\nflour \\xff')\n", "flour"),
        ("raise SystemExit(3)\n", "it said nothing"),
    ],
)
@pytest.mark.parametrize("isolated", [True, False])
def test_a_worker_that_does_not_start_is_told_in_its_own_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, script: str, said: str, isolated: bool
) -> None:
    """And no way out is named that would be less safe and fail as well."""
    (tmp_path / "worker.py").write_text(script)
    monkeypatch.setattr(pool, "_WORKER", [str(tmp_path / "worker.py")])
    with pytest.raises(SandboxUnavailableError, match=rf"did not start .*{said}") as raised:
        check_isolation(SandboxSettings(isolated=isolated))
    assert "sandbox=none" not in str(raised.value)
    assert "\n" not in str(raised.value)
