"""Prompts of other projects that lie here byte for byte, each with its licence beside it.

Copied by requirements/judge_prompts.py. Whitespace matters to a classifier, hence the hashes.

- `harmbench/*`: Mazeika et al. 2024, arXiv 2402.04249; centerforaisafety/HarmBench at 8e1604d,
  `eval_utils.py` and `notebooks/run_classifier_val_set.ipynb`; MIT.
- `strongreject/*`: Souly et al. 2024, arXiv 2402.10260; dsbowen/strong_reject,
  `strong_reject/eval_files/judge_templates.json`; MIT.
"""

import hashlib
from functools import cache
from pathlib import Path

from safemerge_tasks.common.errors import SafemergeError

FOLDER = Path(__file__).parent
SHA256 = {
    "harmbench/llama": "788f4f6aa1491c433c4da76c9140cfc30966cea3ff3875c4d0fcb336d92f60e0",
    "harmbench/llama-contextual": (
        "5d6bb9e3cf4d1e5f3f7620093113222ee115af75b0b2913f00e4c7225ec9f219"
    ),
    "harmbench/mistral": "c1c47e30cc03e00197f1d12be25296fc3150969bb3ddb058bfd9f550e0d66f81",
    "harmbench/mistral-contextual": (
        "df32d8fa50fe36817f2fb4ee38aa3c36a3b2726c71e30769ae26ea8a8104f16f"
    ),
    "strongreject/finetuned": "d90102b02d66b34a3dbf7d82789ce92310965503a481dc725232626bd7700937",
    "strongreject/rubric": "0a282b857e1e53ff6ec92c91eb960d2444806e2e4518f4a40232549b599963d0",
    "strongreject/system": "7919b6d41af2dc9f32797d96eaa952934dca0713c7f3f63ddc6c299db9857248",
}


@cache
def shipped_prompt(name: str) -> str:
    """Return a prompt with its source's own fields.

    Raises:
        SafemergeError: the file is missing, or does not hold that prompt.
    """
    path = FOLDER / f"{name}.txt"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise SafemergeError(f"{path} cannot be read; install safemerge again.") from error
    if hashlib.sha256(content).hexdigest() != SHA256[name]:
        raise SafemergeError(
            f"{path} does not hold the prompt of its source; install safemerge again."
        )
    return content.decode("utf-8")
