"""The papers' settings; a configuration's own keys go over them.

What a paper states is marked so, all else is our choice (docs/decisions.md).
"""

from collections.abc import Mapping
from typing import Any

from safemerge_tasks.common.errors import SafemergeError

_TOOL_USE = "openfunctions_bertscore_val"

# Farn et al. 2024, arXiv 2412.19512: every value here is stated there.
_FARN2024: Mapping[str, Any] = {
    "tuning": "lora",
    "lora": {"rank": 8, "alpha": 16, "target_modules": "all-linear"},
    "learning_rate": 1e-4,
    "schedule": "cosine",
    "warmup_ratio": 0.1,
    "batch_size": 8,
    "cutoff_length": 1024,
    "dtype": "auto",  # bf16 in the paper; float32 only where the device has none
    "epochs": 3,
    "seeds": (42, 1024, 48763),
}

# Bhardwaj et al. 2024, arXiv 2402.11746, has both regimes (`tuning: lora` and `tuning: full`); the
# training settings are Farn et al.'s, and there is one seed and no early checkpoint.
_RESTA2024: Mapping[str, Any] = {**_FARN2024, "seeds": (42,)}

PRESETS = ("farn2024", "resta2024")


def preset(name: str, data: Any) -> dict[str, Any]:
    """Return a preset's values for a configuration's `data`.

    Raises:
        SafemergeError: there is no such preset.
    """
    if name == "farn2024":
        tool_use = isinstance(data, Mapping) and data.get("task") == _TOOL_USE
        return {**_FARN2024, "checkpoint_step": 200 if tool_use else 500}
    if name == "resta2024":
        return dict(_RESTA2024)
    raise SafemergeError(f"preset {name!r}: give {' or '.join(PRESETS)}, or none.")
