"""A model on the Hub as a folder that has all of it but the values of its tensors.

Checking a merge needs names, types and shapes only, which stand in the first kilobytes of each
weight file. The rest of such a file here is a hole: it has the right size and takes no space.
"""

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from merge.formats.safetensors import encode_header

if TYPE_CHECKING:
    from huggingface_hub.utils import SafetensorsFileMetadata  # type: ignore[attr-defined]


def hollow_copy(
    model: str, revision: str | None, patterns: list[str], ignored: list[str]
) -> tuple[Path, str]:
    """Return a temporary folder with a Hub model's files, and their commit.

    The caller removes the folder. Models of which there are only `.bin` weights come whole, because
    these files do not tell their shapes apart from their values.

    Args:
        model: id on the Hub.
        revision: branch, tag or commit.
        patterns: the files that a merge reads.
        ignored: those of them that it does not.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.utils import filter_repo_objects  # type: ignore[attr-defined]

    api = HfApi()
    info = api.model_info(model, revision=revision)
    commit = str(info.sha)
    names = [sibling.rfilename for sibling in info.siblings or []]
    wanted = list(filter_repo_objects(names, allow_patterns=patterns, ignore_patterns=ignored))
    weights = [name for name in wanted if name.endswith(".safetensors")]
    if not weights:
        patterns = [*patterns, "*.bin"]
    small = snapshot_download(
        model, revision=commit, allow_patterns=patterns, ignore_patterns=[*ignored, *weights]
    )
    folder = Path(tempfile.mkdtemp(prefix="safemerge-headers-"))
    try:
        shutil.copytree(small, folder, dirs_exist_ok=True)
        for name in weights:
            header = api.parse_safetensors_file_metadata(model, name, revision=commit)
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            write_hollow(folder / name, header)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return folder, commit


def write_hollow(path: Path, header: "SafetensorsFileMetadata") -> None:
    """Write a safetensors file with a given header and a hole for its tensors."""
    tensors = {
        name: {
            "dtype": info.dtype,
            "shape": list(info.shape),
            "data_offsets": list(info.data_offsets),
        }
        for name, info in header.tensors.items()
    }
    start = encode_header(tensors)
    end = max((info.data_offsets[1] for info in header.tensors.values()), default=0)
    path.unlink(missing_ok=True)
    with path.open("wb") as file:
        file.write(start)
        file.truncate(len(start) + end)
