"""Whether a batch's activations fit into memory, so that none is computed twice."""

from typing import Any

import psutil
import torch

# Of what is free; the rest is for gradients, moments and what is not counted here.
_SHARE = 0.5

# Kept for each token in each layer, in units of the hidden and of the intermediate size: norms,
# projections, residuals and their copies in other dtypes. Rounded up from what autograd keeps, with
# which tests/safemerge_tasks/finetune/test_memory.py compares them.
_HIDDEN = 16
_INTERMEDIATE = 7


def fits_without_checkpoints(config: Any, tokens: int, *, half: bool, cpu: bool) -> bool:
    """Return whether the activations of so many tokens can be kept for the backward pass.

    Args:
        config: the language model's part of its `transformers` configuration.
        tokens: computed at once, padding included.
        half: whether it is computed in bfloat16.
        cpu: whether on a CPU even where there is a GPU.
    """
    return activation_bytes(config, tokens, half=half) < _SHARE * _free(cpu=cpu)


def activation_bytes(config: Any, tokens: int, *, half: bool) -> int:
    """Return about how many bytes of activations the layers keep."""
    hidden = config.hidden_size
    # Of the experts' a token passes through only some.
    intermediate = getattr(config, "moe_intermediate_size", None)
    if intermediate is None:
        intermediate = getattr(config, "intermediate_size", None) or 4 * hidden
    experts = getattr(config, "num_experts_per_tok", None) or 1
    # Autocast keeps numbers in both dtypes.
    numbers = _HIDDEN * hidden + _INTERMEDIATE * intermediate * experts
    return int(tokens * config.num_hidden_layers * numbers * (3 if half else 4))


def _free(*, cpu: bool) -> int:
    if not cpu and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info()[0])
    return int(psutil.virtual_memory().available)
