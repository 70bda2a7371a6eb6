"""What `safemerge judge new` writes works as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.own.scaffold import new_judge
from tests.command_line import CommandLine


def test_a_new_judge_passes_its_test(tmp_path: Path) -> None:
    made = new_judge("warm_bread", tmp_path / "judges")
    assert "class WarmBread(PlainJudge)" in made.file.read_text()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", made.test.name]
    ran = subprocess.run(command, cwd=made.test.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout
    made.file.write_text(made.file.read_text().replace('"step 1", ', ""))
    ran = subprocess.run(command, cwd=made.test.parent, capture_output=True, text=True, check=False)
    assert ran.returncode == 1


def test_the_command_names_the_next_ones(safemerge: CommandLine) -> None:
    done = safemerge("judge", "new", "warm_bread", "--out", "my judges")
    assert done.status == 0
    assert "python -m pytest 'my judges/test_warm_bread.py'" in done.out
    assert "safemerge judge results --judge 'my judges/warm_bread.py:make'" in done.out


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Warm", "'Warm' cannot name a judge's file"),
        ("warm-bread", "cannot name a judge's file"),
        ("llama_guard_3", "is a judge already"),
        ("warm", "warm.py exists already"),
    ],
)
def test_names_that_will_not_do(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "test_warm.py").write_text("")
    with pytest.raises(SafemergeError, match=said.replace("warm.py", "test_warm.py")):
        new_judge(name, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["test_warm.py"]
