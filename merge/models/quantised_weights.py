"""Whether a checkpoint's tensors are quantised: by their names, their types and the files beside.

Its configuration alone does not tell. Old GPTQ files have none, and some trainers leave one from
before the weights were turned back.
"""

import re

from merge.models.checkpoint import Checkpoint
from merge.models.dequantisation import scheme_of

_NAMES = re.compile(
    r"\.(qweight|qzeros|scales|g_idx|absmax|quant_map|SCB|weight_format|weight_scale|weight_scale_2"
    r"|weight_scale_inv|weight_packed|weight_zero_point|input_scale)$"
    r"|\.quant_state\.|\.(nested_)?absmax|_(blocks|scales)$"
    r"|\.(W_q|weight\._data|weight:\w+|centroids\.weight|codebooks)$"
)
_FILES = ("quantize_config.json", "quant_config.json")
_TYPES = ("F8", "C64")


def quantised(checkpoint: Checkpoint, *, dequantize: bool) -> str | None:
    """Return why a checkpoint's weights cannot be taken as numbers, or None if they can.

    Args:
        checkpoint: what was opened.
        dequantize: whether those that can be turned into numbers were.
    """
    kind = checkpoint.config.get("quantization_config")
    if isinstance(kind, dict):
        kind = kind.get("quant_method", "unknown")
    instead = ", or --dequantize" if not dequantize and scheme_of(checkpoint.config) else ""
    named = next((tensor for name, tensor in checkpoint.tensors.items() if _packed(name)), None)
    if named is not None:
        return (
            f"{checkpoint.folder} is quantised ({kind or 'no quantization_config'}, it stores "
            f"{named.name}); give the unquantised model{instead}"
        )
    odd = [tensor for tensor in checkpoint.tensors.values() if tensor.dtype.startswith(_TYPES)]
    if odd:
        more = f" and {len(odd) - 1} more" if len(odd) > 1 else ""
        return (
            f"{odd[0].path} stores {odd[0].name}{more} as {odd[0].dtype}; give the model in "
            f"bfloat16, float16 or float32"
        )
    beside = next((name for name in _FILES if (checkpoint.folder / name).is_file()), None)
    integers = [t for t in checkpoint.tensors.values() if t.dtype[0] in "IU" and len(t.shape) > 1]
    # A matrix that is multiplied with is no table of places.
    codes = [tensor for tensor in integers if tensor.name.endswith(".weight")]
    if codes or (integers and (beside or kind)):
        code = (codes or integers)[0]
        return (
            f"{checkpoint.folder} is quantised ({kind or beside or 'no quantization_config'}, "
            f"{code.name} is {code.dtype}); give the unquantised model"
        )
    return None


def quantisation_note(checkpoint: Checkpoint) -> str | None:
    """Return a note where weights were dequantised, or are called quantised and are not."""
    if checkpoint.dequantised:
        return (
            f"{checkpoint.folder} is quantised ({checkpoint.dequantised}); each weight was taken "
            f"as code times scale"
        )
    if not checkpoint.config.get("quantization_config"):
        return None
    return (
        f"{checkpoint.folder} has a quantization_config and weights that are not quantised; the "
        f"weights were taken as they are"
    )


def _packed(name: str) -> bool:
    return _NAMES.search(name) is not None
