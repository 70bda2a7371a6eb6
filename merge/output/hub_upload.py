"""Uploading a merged folder to the Hub, once it is what was written."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from merge.errors import MergeError
from merge.lora.adapter_config import ADAPTER_CONFIG
from merge.models.checkpoint import CONFIG
from merge.models.prompts import GENERATION
from merge.output.verification import verify

# What a repository has from its first day.
_FRESH = frozenset({".gitattributes", "README.md"})
# Files that libraries write names of folders into.
_NAMING = (CONFIG, GENERATION, ADAPTER_CONFIG, "tokenizer_config.json")


def check_repository(name: str) -> None:
    """Check that a model can be uploaded under a name: it is free, or holds no model yet.

    Raises:
        MergeError: it is no name, or taken, or the Hub does not answer.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError
    from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]

    try:
        validate_repo_id(name)
        valid = name.count("/") == 1
    except HFValidationError:
        valid = False
    if not valid:
        raise MergeError(f"--push-to is {name!r}; write a model's name on the Hub, as ORG/NAME.")
    try:
        held = set(HfApi().list_repo_files(name)) - _FRESH
    except RepositoryNotFoundError:
        return
    # The Hub's client raises its own errors, the HTTP library's and OSError.
    except Exception as error:
        raise MergeError(
            f"--push-to {name}: the Hub does not say whether the name is free ({_said(error)}); "
            f"check the network and your access."
        ) from error
    if held:
        raise MergeError(
            f"--push-to {name}: it holds {len(held)} files, such as {min(held)}, with which the "
            f"merged model's would mix; choose another name."
        )


def push(folder: Path, name: str) -> str:
    """Verify a merged folder, upload it as a model, and return the commit's address.

    A repository that is not there yet is made, private.

    Raises:
        MergeError: the folder is not what was written, names folders of this machine, or the Hub
            does not take it.
    """
    from huggingface_hub import HfApi

    verify(folder)
    check_names(folder)
    check_repository(name)
    api = HfApi()
    try:
        api.create_repo(name, private=True, exist_ok=True)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="A model merged by safemerge"
        )
        there = set(api.list_repo_files(name, revision=commit.oid))
    # As above.
    except Exception as error:
        raise MergeError(
            f"The Hub did not take {name} ({_said(error)}); the model is in {folder}, verified: "
            f"upload it with `hf upload {name} {folder}` after `hf auth login`."
        ) from error
    own = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    if missing := sorted(own - there):
        raise MergeError(
            f"{name} lacks {', '.join(missing[:5])} after the upload; upload it with "
            f"`hf upload {name} {folder}`."
        )
    return str(commit.commit_url)


def check_names(folder: Path) -> None:
    """Check that the configurations name no folder of this machine, which nobody else has.

    Raises:
        MergeError: one does.
    """
    for file in _NAMING:
        path = folder / file
        if not path.is_file():
            continue
        for key, value in _strings(json.loads(path.read_text(encoding="utf-8"))):
            if "/" in value and _exists(value):
                raise MergeError(
                    f"{path}: {key} is {value}, a folder here that nobody else has; merge again "
                    f"with the Hub's name for it."
                )


def _strings(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Yield every string with the key it stands under."""
    if isinstance(value, str):
        yield key, value
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _strings(each, str(name))
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each, key)


def _exists(text: str) -> bool:
    try:
        return len(text) > 1 and Path(text).expanduser().exists()
    # Too long for a name, as a chat template is, or no name at all.
    except (OSError, ValueError, RuntimeError):
        return False


def _said(error: Exception) -> str:
    first = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {first}"
