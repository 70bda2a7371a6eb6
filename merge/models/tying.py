"""Output heads that are tied to the embedding, told from configuration and shapes alone."""

import re

from merge.errors import MergeError
from merge.formats.checksums import block_ranges
from merge.formats.stored_tensor import StoredTensor
from merge.models.checkpoint import Checkpoint

# Names of embeddings, and of the head that a model with a tied one has in memory.
_HEADS = {
    "model.language_model.embed_tokens.weight": "lm_head.weight",
    "model.text_model.embed_tokens.weight": "lm_head.weight",
    "model.embed_tokens.weight": "lm_head.weight",
    "transformer.wte.weight": "lm_head.weight",
    "wte.weight": "lm_head.weight",
    "transformer.word_embeddings.weight": "lm_head.weight",
    "word_embeddings.weight": "lm_head.weight",
    "gpt_neox.embed_in.weight": "embed_out.weight",
    "backbone.embeddings.weight": "lm_head.weight",
    "rwkv.embeddings.weight": "head.weight",
    "biogpt.embed_tokens.weight": "output_projection.weight",
}
# The same, of architectures that others share the embedding's name with.
_HEADS_OF = {"OPTForCausalLM": {"model.decoder.embed_tokens.weight": "lm_head.weight"}}
# An embedding by another name is no head, though its shape is one's.
_EMBEDDING_NAME = re.compile(r"(^|[._])(embed_tokens|embed_in|embeddings?|wte|shared)\.weight$")
_HEAD_NAME = re.compile(r"(head|embed_out|output|classifier|decoder)(\.weight)?$")
_GENERATING = ("ForCausalLM", "ForConditionalGeneration", "LMHeadModel")


def tied_source(checkpoint: Checkpoint, head: str, shape: tuple[int, ...]) -> str | None:
    """Return the embedding that a model without this head uses in its place.

    No architecture's names are needed: it is the only other tensor of the vocabulary's and the
    model's size. None if the model has a head, says that nothing is tied, or leaves it open which
    tensor it would be.
    """
    if len(shape) != 2 or head in checkpoint.tensors or tie_setting(checkpoint) is False:
        return None
    sizes = {shape}
    if _HEAD_NAME.search(head):
        # Vocabularies may differ in size, and then so do a head and the embedding in its place.
        sizes.add((vocabulary_size(checkpoint) or shape[0], shape[1]))
    alike = [name for size in sizes for name in checkpoint.by_shape.get(size, ())]
    return alike[0] if len(alike) == 1 else None


def is_tied_head(checkpoint: Checkpoint, name: str, shape: tuple[int, ...]) -> bool:
    """Return whether a tensor that a model lacks is its head, and not the embedding itself."""
    return not _EMBEDDING_NAME.search(name) and tied_source(checkpoint, name, shape) is not None


def head_beside(checkpoint: Checkpoint, embedding: str) -> str | None:
    """Return the name of the head that is tied to an embedding, or None if the model has none.

    Raises:
        MergeError: the model ties its head, and what it would be called is not known.
    """
    makers = checkpoint.config.get("architectures") or []
    if tie_setting(checkpoint) is False or not any(
        str(maker).endswith(_GENERATING) for maker in makers
    ):
        return None
    own = [_HEADS_OF.get(str(maker), {}) for maker in makers]
    for ending, head in {**_HEADS, **{k: v for each in own for k, v in each.items()}}.items():
        if f".{embedding}".endswith(f".{ending}"):
            name = embedding.removesuffix(ending) + head
            return None if name in checkpoint.tensors else name
    if tie_setting(checkpoint) is True and redundant_head(checkpoint) is None:
        raise MergeError(
            f"{checkpoint.folder}: {embedding} is trained apart from the head that is tied to it, "
            f"and the head's name is not known for {', '.join(map(str, makers))}; merge the "
            f"adapter with peft's merge_and_unload and give the full checkpoint."
        )
    return None


def has_rows_of_tokens(checkpoint: Checkpoint, name: str) -> bool:
    """Return whether a tensor has one row for each token: an embedding or a head."""
    tensor = checkpoint.tensors[name]
    if len(tensor.shape) not in (1, 2):
        return False
    size = vocabulary_size(checkpoint)
    known = any(f".{name}".endswith(f".{each}") for each in (*_HEADS, *_HEADS.values()))
    return known or (size is not None and tensor.shape[0] == size)


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


def is_copy(checkpoint: Checkpoint, name: str, embedding: str) -> bool:
    """Return whether a stored tensor is the tied embedding once more, or in its place.

    Files of torch, and some exports, hold a shared tensor under all of its names; safetensors'
    `save_model` keeps the first name only, which may be the head's.
    """
    if tie_setting(checkpoint) is False:
        return False
    one, other = checkpoint.tensors[name], checkpoint.tensors.get(embedding)
    return other is None or (one.shape == other.shape and _equal(one, other))


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
            return checkpoint.whole_number(part, "vocab_size")
    return None
