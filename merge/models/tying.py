"""Output heads that are tied to the embedding, told from configuration and shapes alone."""

from merge.errors import MergeError
from merge.formats.checksums import block_ranges
from merge.formats.stored_tensor import StoredTensor
from merge.models.checkpoint import Checkpoint


def tied_source(checkpoint: Checkpoint, head: StoredTensor) -> str | None:
    """Return the embedding that a model without this head uses in its place.

    No architecture's names are needed: it is the only other tensor of the vocabulary's and the
    model's size. None if the model has a head, says that nothing is tied, or leaves it open which
    tensor it would be.
    """
    if len(head.shape) != 2 or tie_setting(checkpoint) is False:
        return None
    alike = [
        name
        for name, tensor in checkpoint.tensors.items()
        if len(tensor.shape) == 2
        and tensor.shape[1] == head.shape[1]
        and tensor.shape[0] in (head.shape[0], vocabulary_size(checkpoint))
        and tensor.name != head.name
    ]
    return alike[0] if len(alike) == 1 else None


def redundant_head(checkpoint: Checkpoint) -> str | None:
    """Return a head that is stored though the configuration ties it to the embedding.

    Raises:
        MergeError: the two differ, which loaders of the model take in different ways.
    """
    if tie_setting(checkpoint) is not True:
        return None
    size = vocabulary_size(checkpoint)
    large = [
        tensor
        for tensor in checkpoint.tensors.values()
        if len(tensor.shape) == 2 and tensor.shape[0] == size
    ]
    heads = [tensor for tensor in large if "head" in tensor.name or "embed_out" in tensor.name]
    if len(heads) != 1 or len(large) != 2 or large[0].shape != large[1].shape:
        return None
    embedding = large[0] if large[1] is heads[0] else large[1]
    if not _equal(heads[0], embedding):
        raise MergeError(
            f"{checkpoint.folder}: config.json ties the head to the embedding, but {heads[0].name} "
            f"and {embedding.name} differ; set tie_word_embeddings to false there if the head was "
            f"trained, or remove the tensor."
        )
    return heads[0].name


def _equal(one: StoredTensor, other: StoredTensor) -> bool:
    if one.dtype != other.dtype:
        return False
    return all(
        one.read_bytes(start, stop) == other.read_bytes(start, stop)
        for start, stop in block_ranges(one.elements)
    )


def tie_setting(checkpoint: Checkpoint) -> bool | None:
    """Return what the configuration says about tying, or None if it says nothing."""
    for part in (checkpoint.config, checkpoint.config.get("text_config") or {}):
        if part.get("tie_word_embeddings") is not None:
            return bool(part["tie_word_embeddings"])
    return None


def vocabulary_size(checkpoint: Checkpoint) -> int | None:
    """Return the vocabulary's size as configured."""
    for part in (checkpoint.config, checkpoint.config.get("text_config") or {}):
        if part.get("vocab_size") is not None:
            return int(part["vocab_size"])
    return None
