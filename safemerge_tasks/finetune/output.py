"""The finished folder: an ordinary adapter or checkpoint, and how it was made."""

import json
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.finetune.base import Base
from safemerge_tasks.finetune.checkpoints import history, step_of
from safemerge_tasks.finetune.config import FinetuneConfig

MANIFEST = "safemerge_finetune.json"
_ADAPTER = ("adapter_config.json", "adapter_model.safetensors")


@dataclass(frozen=True)
class Made:
    """What makes a finished folder that of one fine-tuning."""

    identity: dict[str, Any]
    base: dict[str, Any]

    def agrees_with(self, manifest: dict[str, Any]) -> str | None:
        """Return what differs in a finished folder's manifest, in a word; None if nothing does."""
        if manifest.get("identity") != self.identity:
            return _difference(manifest.get("identity"), self.identity)
        # The same weights may have moved; samples of them are for merging.
        theirs = {**manifest.get("base", {}), "name": None}
        theirs.pop("samples", None)
        return None if theirs == {**self.base, "name": None} else "base"


def is_finished(out: Path, made: Made) -> bool:
    """Return whether a folder already is the wanted result.

    Raises:
        SafemergeError: it holds something else.
    """
    if out.is_file():
        raise SafemergeError(f"{out} is a file; choose another --out.")
    if not out.is_dir() or not any(out.iterdir()):
        return False
    try:
        manifest = json.loads((out / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise SafemergeError(
            f"{out} is not empty and no finished fine-tuning; remove it or choose another --out."
        ) from None
    differs = made.agrees_with(manifest)
    if differs is not None:
        raise SafemergeError(
            f"{out} holds another fine-tuning (its {differs} differs); remove it or choose another "
            "--out."
        )
    return True


def write_output(
    out: Path,
    checkpoint: Path,
    config: FinetuneConfig,
    base: Base,
    name: str | None,
    made: Made,
    circumstances: dict[str, Any],
) -> None:
    """Make the folder from the last checkpoint, beside its place, and put it there when complete.

    Args:
        out: the folder's place; absent or empty.
        checkpoint: the last one.
        config: the configuration.
        base: the model that was fine-tuned.
        name: what the adapter is to call its base; its path unless given.
        made: the manifest's first part.
        circumstances: the manifest's second part: rows, steps, machine.
    """
    unfinished = out.absolute().parent / f".{out.name}.writing"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    if config.tuning == "lora":
        _write_adapter(unfinished, checkpoint, name or base.path, config.revision)
    else:
        _write_model(unfinished, checkpoint, base)
    logged = history(checkpoint)
    losses = [entry["loss"] for entry in logged if "loss" in entry]
    manifest = {
        "identity": made.identity,
        "base": {**made.base, "name": name or made.base["name"], "samples": base.samples()},
        "tuning": config.tuning,
        "seed": made.identity["seed"],
        "preset": config.preset,
        "steps": step_of(checkpoint),
        **circumstances,
        "losses": losses,
        "training_loss": losses[-1],
        "validation_loss": next((e["eval_loss"] for e in logged if "eval_loss" in e), None),
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "checksum": "xxh3-128",
        "tensors": _checksums(unfinished),
    }
    (unfinished / MANIFEST).write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    unfinished.rename(out)


def _write_adapter(folder: Path, checkpoint: Path, base: str, revision: str | None) -> None:
    for name in _ADAPTER:
        shutil.copyfile(checkpoint / name, folder / name)
    path = folder / "adapter_config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config |= {
        "base_model_name_or_path": base,
        "revision": revision,
        # A set, so that its order would differ from run to run.
        "target_modules": sorted(config["target_modules"]),
    }
    path.write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _write_model(folder: Path, checkpoint: Path, base: Base) -> None:
    """Write the weights in the base's own dtype: what it merges with and is served in."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(
        checkpoint, dtype=base.config.dtype, trust_remote_code=base.trust_remote_code
    )
    model.save_pretrained(folder)
    # Read afresh: the trainer sets a padding token on its own.
    Base(base.path, base.revision, base.trust_remote_code).tokenizer.save_pretrained(folder)


def _checksums(folder: Path) -> dict[str, str]:
    import xxhash
    from safetensors import safe_open

    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        with safe_open(path, framework="pt") as file:
            for name in sorted(file.keys()):
                data = file.get_tensor(name).contiguous().flatten()
                found[name] = xxhash.xxh3_128_hexdigest(data.view(_byte()).numpy())
    return found


def _byte() -> Any:
    import torch

    return torch.uint8


def _difference(theirs: Any, ours: dict[str, Any], path: str = "") -> str:
    """Return the first key in which two identities differ."""
    for key, value in ours.items():
        other = theirs.get(key) if isinstance(theirs, dict) else None
        if other != value:
            name = f"{path}{key}"
            return _difference(other, value, f"{name}.") if isinstance(value, dict) else name
    return path.rstrip(".") or "format"
