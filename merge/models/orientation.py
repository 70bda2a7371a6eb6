"""Which way round layers keep their weights: `[out, in]`, or `[in, out]` as GPT-2's Conv1D does.

peft asks each module and not the adapter's `fan_in_fan_out`, which is one for all modules and says
what the last one was.
"""

import re

from merge.lora.adapter import Adapter, is_of_embedding
from merge.lora.adapter_config import NotStreamedError
from merge.models.checkpoint import Checkpoint

_CONV1D_MODELS = frozenset({"gpt2", "openai-gpt", "imagegpt", "decision_transformer"})
_CONV1D = re.compile(r"\.(c_attn|q_attn|c_proj|c_fc)\.weight$")


def settle_orientation(adapter: Adapter, base: Checkpoint) -> None:
    """Let every factor of an adapter have the orientation of the layer that it updates.

    Raises:
        NotStreamedError: DoRA's magnitudes belong to columns then.
    """
    for name, (a, b, flag) in list(adapter.factors.items()):
        if is_of_embedding(a) or name not in base.tensors:
            continue
        turned = _is_turned(base, name, (b.shape[0], a.shape[1]), flag)
        adapter.factors[name] = a, b, turned
        if turned and name in adapter.magnitudes:
            raise NotStreamedError(f"{adapter.path}: {name} has DoRA's magnitudes of columns")


def _is_turned(base: Checkpoint, name: str, shape: tuple[int, int], flag: bool) -> bool:
    if "auto_map" not in base.config and "model_type" in base.config:
        return base.config["model_type"] in _CONV1D_MODELS and _CONV1D.search(name) is not None
    if shape[0] == shape[1]:
        return flag
    # Code of the model's own may have layers of either kind, and shapes tell them apart.
    return base.tensors[name].shape == shape[::-1]
