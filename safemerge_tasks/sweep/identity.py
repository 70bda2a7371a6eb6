"""What a model is, so that steps can be keyed by it: a hash of its files, or a Hub commit."""

from collections.abc import Iterator
from pathlib import Path

import xxhash

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.common.file_hashes import file_hash, known_file_hash
from safemerge_tasks.sweep.merge_words import merge_errors

# What neither changes a model's answers nor a merge: written beside weights by many tools.
_IGNORED = (".md", ".log", ".lock")

_TEMPLATES = "additional_chat_templates"


def model_identity(model: str, *, read: bool = True, suffixes: tuple[str, ...] = ()) -> str | None:
    """Return a name for a model's content.

    Args:
        model: folder or Hub id, perhaps `model+adapter` or `id@revision`.
        read: read files whose hash is not known yet; else None is returned for such a model.
        suffixes: of the files that count; else all.

    Raises:
        SafemergeError: there is no such folder or id, or several models are below the folder.
    """
    parts = [model] if Path(model).expanduser().exists() else model.split("+")
    found = [_identity(part, read=read, suffixes=suffixes) for part in parts]
    return None if None in found else "+".join(str(one) for one in found)


def _identity(model: str, *, read: bool, suffixes: tuple[str, ...]) -> str | None:
    folder = Path(model).expanduser()
    if folder.is_dir():
        from merge.models.sub_folders import only_model

        with merge_errors():
            folder = only_model(folder)
        return _folder_identity(folder, read=read, suffixes=suffixes)
    if folder.is_absolute() or model.count("/") != 1:
        raise SafemergeError(f"{model}: no such folder; check the path, or give a Hub id.")
    return _hub_identity(model)


def _folder_identity(folder: Path, *, read: bool, suffixes: tuple[str, ...]) -> str | None:
    digest = xxhash.xxh3_128()
    files = [path for path in _files(folder) if not suffixes or path.suffix in suffixes]
    if not files:
        raise SafemergeError(f"{folder} holds no files; name a model's folder.")
    for path in files:
        value = file_hash(path) if read else known_file_hash(path)
        if value is None:
            return None
        digest.update(f"{path.relative_to(folder)}\0{value}\n".encode())
    return digest.hexdigest()


def _files(folder: Path) -> Iterator[Path]:
    # Chat templates of their own names are in a folder of their own.
    for path in sorted((*folder.iterdir(), *folder.glob(f"{_TEMPLATES}/*.jinja"))):
        if path.is_file() and path.suffix not in _IGNORED and not path.name.startswith("."):
            yield path


def _hub_identity(model: str) -> str:
    from huggingface_hub import HfApi, constants, snapshot_download

    from safemerge_tasks.common.hub_errors import hub_errors

    name, _, revision = model.partition("@")
    with hub_errors(model, way_out="or give a local folder."):
        if constants.is_offline_mode():
            folder = snapshot_download(
                name, revision=revision or None, local_files_only=True, allow_patterns=["*.json"]
            )
            commit: str | None = Path(folder).name
        else:
            commit = HfApi().model_info(name, revision=revision or None).sha
    return f"{name}@{commit}"
