"""The files of a model folder that are not weights: configuration, tokenizer, template, code."""

import json
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from merge.models.checkpoint import CONFIG

CARD = "README.md"
_TAKEN = (
    "*.json",
    "*.jinja",
    "*.model",
    "*.py",
    "*.tiktoken",
    "*.txt",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
)
# JSON that belongs to the weights, to training, or to an adapter.
_LEFT = (
    "*.index.json",
    "adapter_config.json",
    "all_results.json",
    "safemerge_manifest.json",
    "trainer_state.json",
    "*_results.json",
    CONFIG,
)
_TOKENIZER = (
    "*.jinja",
    "*.model",
    "*.tiktoken",
    "added_tokens.json",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer*.json",
    "vocab.*",
)
_TEMPLATES = "additional_chat_templates"


def copy_companions(base: Path, tokenizer: Path, out: Path) -> None:
    """Copy everything but weights, configuration and model card from the base.

    Args:
        base: the model folder.
        tokenizer: the folder whose tokenizer files and chat template are taken instead.
        out: where to.
    """
    for path in sorted(base.iterdir()):
        if path.is_file() and _is_companion(path.name):
            # copyfile follows the Hub cache's links and leaves its permissions behind.
            shutil.copyfile(path, out / path.name)
    if tokenizer != base:
        for path in sorted(tokenizer.iterdir()):
            if path.is_file() and any(fnmatch(path.name, name) for name in _TOKENIZER):
                shutil.copyfile(path, out / path.name)
    if (base / _TEMPLATES).is_dir():
        shutil.copytree(base / _TEMPLATES, out / _TEMPLATES)


def write_config(config: Mapping[str, Any], out: Path) -> None:
    """Write a model's configuration."""
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    (out / CONFIG).write_text(text, encoding="utf-8")


def _is_companion(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in _TAKEN) and not any(
        fnmatch(name, pattern) for pattern in _LEFT
    )
