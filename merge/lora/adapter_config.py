"""A PEFT adapter's configuration: which LoRA it is, and what its update is scaled by.

Only updates that are a plain sum `W + s·B·A` are computed here. PEFT has many LoRA variants that
are not, and gains more, so a field that is not known to leave that sum alone is refused by name.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from merge.errors import MergeError
from merge.formats.json_object import read_json

ADAPTER_CONFIG = "adapter_config.json"
# Fields that say where LoRA sits or how it was trained; what they changed is in the tensors.
_HARMLESS = frozenset(
    {
        "alpha_pattern",
        "auto_mapping",
        "base_model_name_or_path",
        "bias",
        "corda_config",
        "ensure_weight_tying",
        "eva_config",
        "exclude_modules",
        "fan_in_fan_out",
        "inference_mode",
        "init_lora_weights",
        "layers_pattern",
        "layers_to_transform",
        "loftq_config",
        "lora_alpha",
        "lora_bias",
        "lora_dropout",
        "lora_ga_config",
        "modules_to_save",
        "peft_type",
        "peft_version",
        "r",
        "rank_pattern",
        "revision",
        "runtime_config",
        "target_modules",
        # Routers are plain factors; experts' fused tensors are told by their keys.
        "target_parameters",
        "task_type",
        "trainable_token_indices",
        "use_dora",
        "use_rslora",
        # Training-time only.
        "velora_config",
        # Only Megatron's own layers read these; without megatron_config the core is unused.
        "megatron_core",
        # Written by default and read by quantised-LoRA layers only, which are refused.
        "qalora_group_size",
    }
)
# Initialisations that leave the base weights as they were.
_PLAIN_INITS = ("true", "false", "gaussian", "eva", "orthogonal")


class NotStreamedError(MergeError):
    """An adapter's update cannot be computed block by block, and peft may be able to merge it."""


@dataclass(frozen=True)
class LoraConfig:
    """The fields of ``adapter_config.json`` that decide the update."""

    rank: int
    alpha: float
    use_rslora: bool
    rank_pattern: Mapping[str, int]
    alpha_pattern: Mapping[str, float]
    fan_in_fan_out: bool
    trainable_tokens: Mapping[str, list[int]] | list[int]
    raw: Mapping[str, Any]

    def rank_of(self, module: str) -> int:
        """Return the rank a module's factors should have."""
        return int(_by_pattern(self.rank_pattern, module, self.rank))

    def saves(self, tensor: str) -> bool:
        """Return whether a tensor is in a module that `modules_to_save` names."""
        return any(_holds(module, tensor) for module in self.modules_to_save)

    @property
    def target_parameters(self) -> list[str]:
        """The parameters that are updated by name, or by the end of it."""
        return [str(name) for name in self.raw.get("target_parameters") or []]

    def targets_parameter_of(self, module: str) -> bool:
        """Return whether a parameter of a module is updated that is not its weight."""
        split = [name.rpartition(".") for name in self.target_parameters]
        return module.endswith(".experts") or any(
            f".{module}".endswith(f".{owner}") for owner, _, leaf in split if leaf != "weight"
        )

    @property
    def modules_to_save(self) -> list[str]:
        """The modules that are trained as copies of the base's."""
        return [str(module) for module in self.raw.get("modules_to_save") or []]

    @property
    def base_name(self) -> str:
        """The model that the adapter was trained on, as its trainer wrote it; may be empty."""
        return str(self.raw.get("base_model_name_or_path") or "")

    def scale_of(self, module: str) -> float:
        """Return s in `W + s·B·A`: alpha/r, or alpha/√r for rank-stabilised LoRA (2312.03732)."""
        rank = self.rank_of(module)
        alpha = float(_by_pattern(self.alpha_pattern, module, self.alpha))
        return alpha / (math.sqrt(rank) if self.use_rslora else rank)


def _holds(module: str, tensor: str) -> bool:
    """Return whether a module's name ends with this one, and holds the tensor."""
    return f".{module}." in f".{tensor}"


def _by_pattern(patterns: Mapping[str, float], module: str, default: float) -> float:
    """Return the value of the first pattern that matches the end of a module's name, as PEFT."""
    for pattern, value in patterns.items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            return value
    return default


def read_lora_config(folder: Path) -> LoraConfig:
    """Read and check an adapter's configuration.

    Raises:
        MergeError: the adapter is no LoRA, or a variant whose update is not `W + s·B·A`.
    """
    path = folder / ADAPTER_CONFIG
    raw = read_json(path)
    if "fine_tune_type" in raw or "lora_parameters" in raw:
        raise MergeError(
            f"{path} is MLX's; fuse the adapter with mlx_lm.fuse and give the full checkpoint."
        )
    _refuse_variants(path, raw)
    _check_fields(path, raw)
    try:
        return LoraConfig(
            rank=int(raw["r"]),
            alpha=float(raw["lora_alpha"]),
            use_rslora=bool(raw.get("use_rslora")),
            rank_pattern=raw.get("rank_pattern") or {},
            alpha_pattern=raw.get("alpha_pattern") or {},
            fan_in_fan_out=bool(raw.get("fan_in_fan_out")),
            trainable_tokens=raw.get("trainable_token_indices") or [],
            raw=raw,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MergeError(f"{path} lacks a usable r or lora_alpha; save the adapter again.") from (
            error
        )


# Fields of another shape than peft writes would be read as something else.
_SHAPES: Mapping[str, type | tuple[type, ...]] = {
    "alpha_pattern": dict,
    "fan_in_fan_out": bool,
    "layers_to_transform": (int, list),
    "modules_to_save": list,
    "rank_pattern": dict,
    "target_modules": (str, list),
    "target_parameters": list,
    "trainable_token_indices": (list, dict),
    "use_dora": bool,
    "use_rslora": bool,
}


def _check_fields(path: Path, raw: Mapping[str, Any]) -> None:
    for key, kinds in _SHAPES.items():
        if raw.get(key) is not None and not isinstance(raw[key], kinds):
            raise MergeError(
                f"{path}: {key} is {raw[key]!r}, which peft does not write; save the adapter again."
            )
    patterns = [*(raw.get("rank_pattern") or {}), *(raw.get("alpha_pattern") or {})]
    target = raw.get("target_modules")
    for pattern in [*patterns, target] if isinstance(target, str) else patterns:
        try:
            re.compile(pattern)
        except re.error as error:
            raise MergeError(
                f"{path}: {pattern!r} is no regular expression ({error}), as peft's rank_pattern, "
                f"alpha_pattern and target_modules have them; correct it."
            ) from error
    if not (raw.get("lora_alpha", 1) or raw.get("alpha_pattern")):
        raise MergeError(
            f"{path}: lora_alpha is {raw['lora_alpha']!r}, so the adapter would change nothing; "
            f"give the one that it was trained with."
        )


def _refuse_variants(path: Path, raw: Mapping[str, Any]) -> None:
    kind = raw.get("peft_type")
    if kind != "LORA":
        raise NotStreamedError(f"{path}: the adapter's type is {kind}")
    init = str(raw.get("init_lora_weights", True)).lower()
    if init not in _PLAIN_INITS:
        raise MergeError(
            f"{path}: init_lora_weights is {init!r}, which changes the base weights, so the "
            f"adapter belongs to what is left of {raw.get('base_model_name_or_path')} after it; "
            f"save it again with peft's path_initial_model_for_weight_conversion to convert it to "
            f"plain LoRA."
        )
    for key, value in raw.items():
        if value and key not in _HARMLESS:
            raise NotStreamedError(
                f"{path}: {key} is set to {value!r}, a LoRA variant that is not a plain W + s·B·A"
            )
