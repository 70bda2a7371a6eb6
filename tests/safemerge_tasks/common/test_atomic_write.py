"""What is written where somebody pointed."""

import json
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from safemerge_tasks.common.atomic_write import copy_whole, replace_file, write_file
from safemerge_tasks.common.errors import SafemergeError


def left_over(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.endswith(".tmp")]


def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    target = tmp_path / "store" / "blob"
    target.write_text("old")
    link = tmp_path / "report.html"
    link.symlink_to("store/blob")
    replace_file(link, "new")
    assert (link.is_symlink(), target.read_text()) == (True, "new")


def test_a_link_to_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    link = tmp_path / "latest.json"
    link.symlink_to(tmp_path / "2026.json")
    replace_file(link, "{}")
    assert (link.is_symlink(), (tmp_path / "2026.json").read_text()) == (True, "{}")


def test_a_link_in_a_circle_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    with pytest.raises(SafemergeError, match="a cannot be written"):
        write_file(tmp_path / "a", "x")


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    replace_file(pipe, ["a", "b"])
    reader.join(10)
    assert read == ["ab"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("link", [False, True])
def test_a_full_device_is_a_sentence_and_stays(tmp_path: Path, link: bool) -> None:
    path = Path("/dev/full")
    if link:
        path = tmp_path / "out.json"
        path.symlink_to("/dev/full")
    with pytest.raises(SafemergeError, match=f"{path} cannot be written .No space left"):
        write_file(path, "x")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


WRITES = (
    "import sys; from pathlib import Path;"
    "from safemerge_tasks.common.atomic_write import write_file;"
    "print('printed');"
    "[write_file(Path(name), 'written\\n') for name in sys.argv[1:]];"
    "print('after')"
)


@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
def test_standard_output_be_it_a_pipe_or_a_file(tmp_path: Path, name: str) -> None:
    command = [sys.executable, "-c", WRITES, name]
    expected = "printed\nwritten\nafter\n"
    assert subprocess.check_output(command, text=True) == expected
    out = tmp_path / "out"
    with out.open("w") as file:
        subprocess.run(command, stdout=file, check=True)
    assert out.read_text() == expected


def test_bashs_process_substitution(tmp_path: Path) -> None:
    script = f'"$0" -c "$1" >(cat > {tmp_path}/got) >/dev/null; wait $!'
    subprocess.run(["bash", "-c", script, sys.executable, WRITES], check=True)
    assert (tmp_path / "got").read_text() == "written\n"


def test_who_may_read_a_file_stays(tmp_path: Path) -> None:
    path = tmp_path / "samples.jsonl"
    path.write_text("old")
    path.chmod(0o600)
    replace_file(path, "new")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_a_killed_process_left_goes_and_what_a_living_one_writes_stays(
    tmp_path: Path,
) -> None:
    path = tmp_path / "results_[1].json"
    code = (
        "import os, sys; from pathlib import Path;"
        "from safemerge_tasks.common.atomic_write import replace_file;"
        "replace_file(Path(sys.argv[1]), (os.kill(os.getpid(), 9) or 'x' for _ in '1'))"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(left_over(tmp_path)) == 1
    living = tmp_path / f".{path.name}.{os.uname().nodename}.{os.getppid()}.tmp"
    living.touch()
    replace_file(path, "new")
    assert left_over(tmp_path) == [living.name]


def test_a_failure_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text("old")
    with pytest.raises(ZeroDivisionError):
        replace_file(path, (str(1 // number) for number in (1, 0)))
    assert (path.read_text(), left_over(tmp_path)) == ("old", [])
    with pytest.raises(IsADirectoryError):
        copy_whole(tmp_path, tmp_path / "b")
    assert not (tmp_path / "b").exists()


def test_a_lone_surrogate_comes_back(tmp_path: Path) -> None:
    text = 'Bake \ud83d, \\ud83d and \\\ud83d "it"'
    replace_file(tmp_path / "a", json.dumps(text, ensure_ascii=False))
    assert json.loads((tmp_path / "a").read_bytes()) == text
