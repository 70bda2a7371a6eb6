"""Check a merged checkpoint against its manifest: every file, header and tensor, to the bit."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from merge.errors import MergeError
from merge.formats.checksums import BLOCK_ELEMENTS, block_ranges, combine, digest, file_checksum
from merge.formats.dtypes import ITEM_SIZE
from merge.formats.safetensors import Entry, build_header, read_header
from merge.formats.stored_tensor import StoredTensor
from merge.models.saved_vector import MANIFEST
from merge.output.manifest import read_manifest

# What a model folder gains on its way through the Hub, version control or an operating system.
_TRAVELS = frozenset(
    {".gitattributes", ".gitignore", ".git", ".cache", ".DS_Store", "Thumbs.db", "desktop.ini"}
)
# What people read and models do not: an edited card is no other model.
_TOLD = frozenset({"README.md"})
_SHOWN = (".md", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".pdf", ".html", ".csv")
_LEGAL = ("LICENSE", "NOTICE", "USE_POLICY")


def verify(folder: Path) -> list[Path]:
    """Check a merged checkpoint, or every one in a folder of several λ.

    Returns:
        The folders that were checked.

    Raises:
        MergeError: something is missing, added or changed; the message names all of it.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MergeError(f"{folder}: no such folder; check the path.")
    folders = [folder]
    if not (folder / MANIFEST).is_file():
        folders = sorted(path for path in folder.glob("lambda-*") if path.is_dir()) or [folder]
    problems = [problem for each in folders for problem in find_problems(each)]
    if problems:
        raise MergeError(
            f"{folder} is not what was written: {'; '.join(problems[:20])}; merge again."
        )
    return folders


def find_problems(folder: Path) -> list[str]:
    """Return what differs between a folder and its manifest."""
    manifest = read_manifest(folder)
    weights = _by_file(manifest["tensors"])
    # Manifests from before blocks were an option do not say.
    block = int(manifest.get("checksum_block", BLOCK_ELEMENTS))
    problems = _other_files(folder, manifest["files"], set(weights))
    for file, tensors in weights.items():
        problems += _weight_file(folder / file, tensors, block)
    return problems


def _by_file(tensors: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    files: dict[str, dict[str, Any]] = {}
    for name, tensor in tensors.items():
        files.setdefault(tensor["file"], {})[name] = tensor
    return files


def _other_files(folder: Path, files: Mapping[str, str], weights: set[str]) -> list[str]:
    # A link to a folder, or to what comes later, is one more thing that a loader may follow.
    found = (path for path in folder.rglob("*") if path.is_file() or path.is_symlink())
    present = {str(path.relative_to(folder)) for path in found} - {MANIFEST}
    problems = [f"{name} is missing" for name in sorted((set(files) | weights) - present)]
    problems += [
        f"{name} was added"
        for name in sorted(present - set(files) - weights)
        if not _was_left(name) and _is_read(name)
    ]
    problems += [
        f"{name} was changed"
        for name, checksum in files.items()
        if name in present and name not in _TOLD and file_checksum(folder / name) != checksum
    ]
    return problems


def _was_left(name: str) -> bool:
    """Return whether a file is what the Hub, version control or an operating system leaves."""
    parts = Path(name).parts
    return parts[0] in _TRAVELS or parts[-1] in _TRAVELS or parts[-1].startswith("._")


def _is_read(name: str) -> bool:
    """Return whether a loader may read a file: weights, configuration, tokenizer, code."""
    return not name.endswith(_SHOWN) and not Path(name).name.upper().startswith(_LEGAL)


def _weight_file(path: Path, tensors: Mapping[str, Any], block: int) -> list[str]:
    if not path.is_file():
        return []
    try:
        entries = read_header(path)
    except MergeError as error:
        return [str(error).rstrip(".")]
    # A header may be longer than it has to be, for tensors to begin where the base's do.
    begin = min((entry.offset for entry in entries.values()), default=0)
    expected, _ = build_header(
        {name: (tensor["dtype"], tuple(tensor["shape"])) for name, tensor in tensors.items()},
        least=begin,
    )
    with path.open("rb") as file:
        if file.read(len(expected)) != expected:
            return [f"the header of {path.name} was changed"]
        return [
            f"tensor {name} in {path.name} was changed"
            for name, tensor in tensors.items()
            if _checksum(path, file.fileno(), name, entries[name], block) != tensor["checksum"]
        ]


def _checksum(path: Path, descriptor: int, name: str, entry: Entry, block: int) -> str:
    tensor = StoredTensor(name, entry.dtype, entry.shape, path, descriptor, entry.offset)
    buffer = memoryview(bytearray(block * ITEM_SIZE[entry.dtype]))
    return combine(
        digest(tensor.read_bytes(start, stop, buffer[: (stop - start) * ITEM_SIZE[entry.dtype]]))
        for start, stop in block_ranges(entry.elements, block)
    )
