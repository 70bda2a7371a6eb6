"""Tensors that loaders compute themselves or leave out, so that one copy may lack them."""

import re

from merge.models.checkpoint import Checkpoint

_BUFFERS = re.compile(
    r"(^|\.)(rotary_\w*emb\.inv_freq|position_ids|token_type_ids|masked_bias|[kvq]_scale)$"
)
_CAUSAL_MASK = re.compile(r"\.(attn|attention|self_attn)\.bias$")
# Heads that predict several tokens at once: transformers leaves them out when it saves a model.
_MULTI_TOKEN = re.compile(r"(^|\.)mtp(_\w+)?\.")
# Of the language model: towers and encoders beside it have numbers of layers of their own.
_LAYER = re.compile(r"^(?:(?:model|language_model|text_model|transformer)\.)*layers\.(\d+)\.")
# Heads of other tasks: of pretraining, and of a reinforcement learner's value function.
_OTHER_HEADS = re.compile(r"(^|\.)(pooler|cls\.seq_relationship|v_head|value_head)\.")
_MASK_DIMENSIONS = 4


def spare_kind(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> str | None:
    """Return what kind of spare tensor this is, or None if it is a part of the model."""
    if _BUFFERS.search(name):
        return "buffers"
    if _CAUSAL_MASK.search(name) and len(shape) == _MASK_DIMENSIONS:
        return "causal masks"
    if _MULTI_TOKEN.search(name):
        return "multi-token prediction"
    layer, layers = _LAYER.search(name), checkpoint.layers
    if layer and layers and int(layer[1]) >= layers:
        return "layers beyond num_hidden_layers"
    return "heads of other tasks" if _OTHER_HEADS.search(name) else None
