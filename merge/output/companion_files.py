"""The files of a model folder that are not weights: configuration, tokenizer, template, code."""

import json
import shutil
from collections.abc import Mapping
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from merge.engine.plan import Plan
from merge.formats.json_object import read_json
from merge.models.checkpoint import CONFIG
from merge.models.companion_names import COMPANIONS, TOKENIZER
from merge.models.prompts import GENERATION, TEMPLATE, with_special_ids

CARD = "README.md"
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
_TEMPLATES = "additional_chat_templates"


def copy_companions(plan: Plan, out: Path) -> None:
    """Copy everything but weights, configuration and model card from the base.

    The tokenizer's files come from where the plan says, all of them; so do the chat template and
    the ids of special tokens.

    Args:
        plan: what is written.
        out: where to.
    """
    base = plan.inputs.main.checkpoint.folder
    other = plan.tokenizer != base
    for path in sorted(base.iterdir()):
        if path.is_file() and _is_companion(path.name) and not (other and _of_tokenizer(path.name)):
            # copyfile follows the Hub cache's links and leaves its permissions behind.
            shutil.copyfile(path, out / path.name)
    if other:
        for path in sorted(plan.tokenizer.iterdir()):
            if path.is_file() and _of_tokenizer(path.name):
                shutil.copyfile(path, out / path.name)
    if (base / _TEMPLATES).is_dir():
        shutil.copytree(base / _TEMPLATES, out / _TEMPLATES)
    if plan.template is not None:
        (out / TEMPLATE).write_text(plan.template, encoding="utf-8")
    generation = out / GENERATION
    if plan.special_ids and generation.is_file():
        changed = with_special_ids(read_json(generation), plan.special_ids)
        write_config(changed, generation)


def write_config(config: Mapping[str, Any], path: Path) -> None:
    """Write a configuration."""
    text = json.dumps(config, indent=2, ensure_ascii=False) + "\n"
    path.write_text(text, encoding="utf-8")


def _of_tokenizer(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in TOKENIZER)


def _is_companion(name: str) -> bool:
    return any(fnmatch(name, pattern) for pattern in COMPANIONS) and not any(
        fnmatch(name, pattern) for pattern in _LEFT
    )
