from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.yaml_file import read_yaml


def test_values_anchors_and_a_bom_are_read(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("\ufeffa: &one {x: 1}\nb:\n  <<: *one\n  x: 2\n", encoding="utf-8")
    assert read_yaml(path) == {"a": {"x": 1}, "b": {"x": 2}}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (b"limit: 1\nother: 2\nlimit: 3\n", "line 3: limit is given twice; remove one"),
        (b"a:\n  - {x: 1, y: 2, x: 1}\n", "line 2: x is given twice"),
        (b"'on': 1\n\"on\": 2\n", "on is given twice"),
        (b"a: [", "a.yaml, line 1 is not YAML"),
        (b"a: 1\n---\na: 2\n", "line 2 is not YAML"),
        (b"a: 2026-13-45\n", "is not YAML .month must be in 1..12"),
        (b"a: \x07\n", "is not YAML"),
        (b"a: \xff\n", "is not UTF-8"),
        (b"[" * 5000, "is not YAML"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: bytes, problem: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text)
    with pytest.raises(SafemergeError, match=problem):
        read_yaml(path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match=r"no\.yaml does not exist; write one\."):
        read_yaml(tmp_path / "no.yaml", "write one")
    with pytest.raises(SafemergeError, match="cannot be read .is a directory.; correct it"):
        read_yaml(tmp_path)
