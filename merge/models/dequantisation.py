"""Taking quantised checkpoints as the numbers that they stand for, where files say which.

That are compressed-tensors' integers and 8-bit floats, packed or not, and 8-bit floats with a scale
for each tile, as DeepSeek-V3 has them. Other formats need tables or transforms of their own.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from merge.formats.dtypes import FLOATS, code_of
from merge.formats.stored_tensor import StoredTensor
from merge.models.checkpoint import Checkpoint
from merge.models.dequantised_tensor import WORD_BITS, DequantisedTensor

_FORMATS = ("naive-quantized", "int-quantized", "float-quantized", "pack-quantized")
_BITS = (4, 8)
# Of activations, which weights do not depend on.
_ACTIVATIONS = re.compile(r"\.(input|output)_(scale|zero_point|global_scale)$")
_SUFFIXES = ("_scale", "_scale_inv", "_zero_point", "_shape", "_g_idx")


@dataclass(frozen=True)
class Scheme:
    """How a checkpoint's matrices are quantised.

    Attributes:
        name: what people call it.
        bits: of a code.
        tile: rows and columns that share a scale; 0 for all of them.
    """

    name: str
    bits: int
    tile: tuple[int, int]


def scheme_of(config: Mapping[str, Any]) -> Scheme | None:
    """Return how a configuration says that weights are quantised; None if it cannot be undone."""
    quantised = config.get("quantization_config")
    if not isinstance(quantised, dict):
        return None
    method = quantised.get("quant_method")
    if method == "fp8":
        tile = quantised.get("weight_block_size") or (0, 0)
        return Scheme("fp8", 8, (int(tile[0]), int(tile[1])))
    if method != "compressed-tensors":
        return None
    groups = [group for group in (quantised.get("config_groups") or {}).values() if group]
    formats = {str(group.get("format") or quantised.get("format")) for group in groups}
    schemes = {_group_scheme(group.get("weights") or {}) for group in groups}
    sparse = (quantised.get("sparsity_config") or {}).get("format", "dense")
    turned = (quantised.get("transform_config") or {}).get("config_groups")
    if len(schemes) != 1 or not formats <= set(_FORMATS) or sparse != "dense" or turned:
        return None
    [tile] = schemes
    bits = int((groups[0].get("weights") or {}).get("num_bits") or 0)
    if tile is None or bits not in _BITS:
        return None
    return Scheme(f"compressed-tensors, {' and '.join(sorted(formats))}", bits, tile)


def _group_scheme(weights: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return the tile of a group's weights, or None where there is no such thing."""
    if weights.get("actorder") in ("group", "dynamic", True):
        return None
    match weights.get("strategy"):
        case "tensor" | None:
            return 0, 0
        case "channel":
            return 1, 0
        case "group" if weights.get("group_size"):
            return 1, int(weights["group_size"])
        case "block" if weights.get("block_structure"):
            height, width = weights["block_structure"]
            return int(height), int(width)
    return None


def dequantise(checkpoint: Checkpoint) -> None:
    """Take a checkpoint's quantised matrices as numbers, if it has any that can be read.

    What cannot stays as it is, and is refused for what it is.
    """
    scheme = scheme_of(checkpoint.config)
    if scheme is None:
        return
    taken: dict[str, StoredTensor] = {}
    matrices = _matrices(checkpoint, scheme)
    spent = {f"{name}{suffix}" for name in matrices for suffix in _SUFFIXES}
    modules = {name.rpartition(".")[0] for name in matrices}
    for name, tensor in checkpoint.tensors.items():
        own = name.removesuffix("_packed")
        if own in matrices:
            taken[own] = matrices[own]
        elif name not in spent and not (
            _ACTIVATIONS.search(name) and name.rpartition(".")[0] in modules
        ):
            taken[name] = tensor
    if matrices:
        checkpoint.tensors = taken
        checkpoint.dequantised = scheme.name


def _matrices(checkpoint: Checkpoint, scheme: Scheme) -> dict[str, DequantisedTensor]:
    """Return the quantised matrices by the name that they have unquantised."""
    tensors = checkpoint.tensors
    found = {}
    for stored, codes in tensors.items():
        name = stored.removesuffix("_packed")
        scale = tensors.get(f"{name}_scale", tensors.get(f"{name}_scale_inv"))
        if scale is None or f"{name}_g_idx" in tensors:
            continue
        matrix = _matrix(checkpoint, scheme, name, codes, scale)
        if matrix is not None:
            found[name] = matrix
    return found


def _matrix(
    checkpoint: Checkpoint, scheme: Scheme, name: str, codes: StoredTensor, scale: StoredTensor
) -> DequantisedTensor | None:
    """Return one matrix, or None if its parts do not fit together as the configuration says."""
    packed = codes.name.endswith("_packed")
    if len(codes.shape) != 2 or codes.dtype not in (("I32",) if packed else ("I8", "F8_E4M3")):
        return None
    rows, columns = codes.shape
    if packed:
        each = WORD_BITS // scheme.bits
        columns = _columns(checkpoint.tensors.get(f"{name}_shape"), columns * each)
        if -(-columns // each) != codes.shape[1]:
            return None
    height, width = scheme.tile[0] or rows, scheme.tile[1] or columns
    tiles = -(-rows // height), -(-columns // width)
    zero_point = checkpoint.tensors.get(f"{name}_zero_point")
    if scale.dtype not in FLOATS or not _is_table(scale, tiles):
        return None
    if zero_point is not None:
        down = -(-tiles[0] // (WORD_BITS // scheme.bits))
        alike = packed and zero_point.dtype == codes.dtype and zero_point.shape == (down, tiles[1])
        if not alike and (zero_point.dtype == "I32" or not _is_table(zero_point, tiles)):
            return None
    config = checkpoint.text_config
    return DequantisedTensor(
        name,
        "F32",
        (rows, columns),
        codes.path,
        # Nothing of it lies in the file as it is read.
        -1,
        0,
        codes,
        scale,
        (height, width),
        scheme.bits if packed else 0,
        zero_point,
        code_of(str(config.get("dtype") or config.get("torch_dtype") or "bfloat16")),
    )


def _is_table(tensor: StoredTensor, tiles: tuple[int, int]) -> bool:
    """Return whether a tensor has one value for each tile; for a single one its shape is free."""
    return tensor.shape == tiles or (tensor.elements == 1 and tiles == (1, 1))


def _columns(shape: StoredTensor | None, most: int) -> int:
    """Return how many columns a packed matrix has: as the file says, or all there is room for.

    Of a file on the Hub only the header is there for a check.
    """
    if shape is None or shape.elements != 2 or shape.dtype not in ("I64", "I32"):
        return most
    data = bytes(shape.read_bytes(1, 2))
    return int.from_bytes(data, "little") or most
