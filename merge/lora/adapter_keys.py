"""What each tensor of an adapter file is, from its key as peft and trainers write them.

peft's `save_pretrained` writes `base_model.model.MODULE.lora_A.weight`; what trainers gather from
shards themselves keeps the adapter's name (`lora_A.default.weight`) and their own wrappers.
"""

import re
from dataclasses import dataclass
from typing import Literal

from merge.formats.tensor_names import unwrapped

PREFIX = "base_model.model."
Role = Literal[
    "lora_A",
    "lora_B",
    "lora_embedding_A",
    "lora_embedding_B",
    "bias update",
    "magnitude",
    "token rows",
    "copy",
    "in place",
    "original",
]
_FACTOR = re.compile(
    r"^(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B"
    r"|lora_magnitude_vector)(?:\.(?P<adapter>[^.]+?))??(?:\.(?P<leaf>weight|bias))?$"
)
_TOKENS = re.compile(
    r"^(?P<module>.+)\.token_adapter\.trainable_tokens_delta(?:\.(?P<adapter>[^.]+))?$"
)
_COPY = re.compile(r"^(?P<module>.+?)\.modules_to_save\.(?P<rest>.+)$")
_ORIGINAL = re.compile(
    r"\.original_module\.|\.token_adapter\.(?:trainable_tokens_original|base_layer)(?:\.|$)"
)


@dataclass(frozen=True)
class AdapterKey:
    """One tensor's place.

    Attributes:
        target: the base's tensor that it stands for, or the module for LoRA's own.
        role: what it does to the target; an original is the base's own tensor and does nothing.
        adapter: the adapter's name, where the key still has it.
    """

    target: str
    role: Role
    adapter: str = ""


def parse_key(key: str) -> AdapterKey | None:
    """Return what a key says, or None if it belongs to a LoRA variant that is not known here."""
    name = _inner(key)
    if _ORIGINAL.search(name):
        return AdapterKey(_ORIGINAL.sub(".", name), "original")
    if found := _FACTOR.match(name):
        return _factor(found)
    if found := _TOKENS.match(name):
        return AdapterKey(found["module"], "token rows", found["adapter"] or "")
    if ".lora_" in name or ".token_adapter." in name:
        return None
    if found := _COPY.match(name):
        # A trainer's own file has the adapter's name here, which peft calls default.
        rest = found["rest"].removeprefix("default.")
        return AdapterKey(f"{found['module']}.{rest}", "copy")
    return AdapterKey(name.replace(".base_layer.", "."), "in place")


def saved_key(key: str) -> str:
    """Return peft's own key for a tensor that is replaced, whatever trainer wrote this one."""
    return PREFIX + re.sub(r"\.modules_to_save\.(default\.)?", ".", _inner(key))


def _inner(key: str) -> str:
    """Return a key without wrappers and peft's prefix."""
    name = unwrapped(key).removeprefix("module.")
    while name.startswith(PREFIX):
        name = name.removeprefix(PREFIX)
    return name


def _factor(found: re.Match[str]) -> AdapterKey | None:
    part, leaf, adapter = found["part"], found["leaf"], found["adapter"] or ""
    if leaf == "bias":
        known = part == "lora_B"
        return AdapterKey(found["module"], "bias update", adapter) if known else None
    if part == "lora_magnitude_vector":
        return AdapterKey(found["module"], "magnitude", adapter)
    factors: tuple[Role, ...] = ("lora_A", "lora_B", "lora_embedding_A", "lora_embedding_B")
    return AdapterKey(found["module"], next(role for role in factors if role == part), adapter)
