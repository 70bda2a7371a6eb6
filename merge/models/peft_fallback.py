"""Adapters whose update is not computed here: peft merges them whole, once, into a folder."""

import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from merge.errors import MergeError
from merge.formats.json_object import read_json
from merge.lora.adapter_config import ADAPTER_CONFIG, NotStreamedError
from merge.models.checkpoint import Checkpoint

# Bytes of a parameter in float32, in which peft's result loses nothing of a small update.
_FLOAT32 = 4
# Tuners whose parts are weighed anew for each token or task.
_MIXTURES = ("XLORA", "POLY")
_SIDE_FILES = (".json", ".jinja", ".model", ".txt")
_NOT_TAKEN = ("adapter_", "config.json", "model.safetensors", "pytorch_model", "trainer_")


def fallback_note(folder: Path, base: Checkpoint, reason: NotStreamedError) -> str:
    """Return the note that peft merges an adapter, and what that costs.

    Raises:
        MergeError: peft cannot merge it, or there is no room.
    """
    _check_kind(folder, base, reason)
    if base.dequantised:
        raise MergeError(
            f"{reason}, so peft has to merge it whole, which it does not with numbers that "
            f"{base.folder} stands for; give the unquantised model."
        )
    needed = _bytes(base)
    place = Path(tempfile.gettempdir())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise MergeError(
            f"{reason}, so peft has to merge it whole, which needs {needed / 1e9:.1f} GB in "
            f"{place}, and there are {free / 1e9:.1f} GB left; set TMPDIR to a larger disk."
        )
    return (
        f"{reason}, so peft merges it whole first, which takes {needed / 1e9:.1f} GB of memory and "
        "(as long as the merge runs) of disk in TMPDIR"
    )


def merged_by_peft(folder: Path, base: Checkpoint, reason: NotStreamedError) -> Path:
    """Let peft merge an adapter into its base, in float32, and return the new folder.

    Raises:
        MergeError: peft cannot.
    """
    out = Path(tempfile.mkdtemp(prefix=f"{folder.name}-merged-by-peft-"))
    try:
        _merge(folder, base, out)
    # peft and transformers raise many kinds of errors for what they cannot load or merge.
    except Exception as error:
        shutil.rmtree(out)
        first = str(error).strip().partition("\n")[0]
        raise MergeError(
            f"{reason}, and peft does not merge it either ({type(error).__name__}: {first}); give "
            f"the model that was trained as a full checkpoint."
        ) from error
    except BaseException:
        shutil.rmtree(out)
        raise
    for source in (base.folder, folder):
        for path in source.iterdir():
            if path.suffix in _SIDE_FILES and not path.name.startswith(_NOT_TAKEN):
                shutil.copyfile(path, out / path.name)
    return out


def _merge(folder: Path, base: Checkpoint, out: Path) -> None:
    import peft
    import torch

    model = _maker(base).from_pretrained(base.folder, dtype=torch.float32)
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    tied = head is not None and head.weight is embedding.weight
    tied = tied and not model.config.is_encoder_decoder
    if tied:
        # What peft merges into one of them it would merge into the other.
        head.weight = torch.nn.Parameter(head.weight.detach().clone())
    wrapped = peft.PeftModel.from_pretrained(model, str(folder))
    # Only loading once more returns what did not fit, of which the first warns.
    found = wrapped.load_adapter(str(folder), "default")
    if strange := [*found.missing_keys, *found.unexpected_keys]:
        raise MergeError(
            f"the configuration and the file disagree about {len(strange)} tensors, such as "
            f"{strange[0]}"
        )
    merged = wrapped.merge_and_unload()
    head, embedding = merged.get_output_embeddings(), merged.get_input_embeddings()
    if tied and torch.equal(head.weight, embedding.weight):
        head.weight = embedding.weight
    elif tied:
        _untie(merged)
    merged.save_pretrained(out)


def _untie(model: Any) -> None:
    """Let a model be saved with a head of its own."""
    model.config.tie_word_embeddings = model.config.get_text_config().tie_word_embeddings = False


def _maker(base: Checkpoint) -> Any:
    """Return transformers' class of a model."""
    import transformers

    makers = base.config.get("architectures") or [""]
    maker = getattr(transformers, str(makers[0]), None)
    if maker is None or "auto_map" in base.config:
        raise MergeError(
            f"{base.folder}: transformers has no class {makers[0] or 'for it'}, which peft needs "
            f"to merge an adapter."
        )
    return maker


def _check_kind(folder: Path, base: Checkpoint, reason: NotStreamedError) -> None:
    raw: Mapping[str, object] = read_json(folder / ADAPTER_CONFIG)
    try:
        import peft
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING, PEFT_TYPE_TO_TUNER_MAPPING
        from peft.tuners.tuners_utils import BaseTuner
    except ImportError as error:
        raise MergeError(f"{reason}, and peft is not installed; pip install peft.") from error
    kinds = {str(kind.value): kind for kind in PEFT_TYPE_TO_TUNER_MAPPING}
    kind = kinds.get(str(raw.get("peft_type")))
    if raw.get("peft_type") in _MIXTURES or raw.get("alora_invocation_tokens"):
        raise MergeError(
            f"{reason}, which is switched on token by token, so no merged weights compute it; give "
            f"a LoRA or a full checkpoint."
        )
    if kind is None or not issubclass(PEFT_TYPE_TO_TUNER_MAPPING[kind], BaseTuner):
        raise MergeError(
            f"{reason}, which changes no weights that could be merged; give a LoRA or a full "
            f"checkpoint."
        )
    # peft leaves out what it does not know of, with a warning.
    known = {field.name for field in fields(PEFT_TYPE_TO_CONFIG_MAPPING[kind])}
    if strange := sorted(key for key, value in raw.items() if value and key not in known):
        raise MergeError(
            f"{reason}, and the installed peft {peft.__version__} does not know {strange[0]}; "
            f"install the version that trained the adapter."
        )
    _maker(base)


def _bytes(base: Checkpoint) -> int:
    return sum(tensor.elements for tensor in base.tensors.values()) * _FLOAT32
