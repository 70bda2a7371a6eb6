"""Which weights a base is, told by its files."""

from pathlib import Path

import pytest
import torch
import xxhash
from safetensors.torch import save_file

from safemerge_tasks.finetune.base import Base


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SAFEMERGE_CACHE_DIR", str(tmp_path / "cache"))
    folder = tmp_path / "base"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "README.md").write_text("bread")
    (folder / "safemerge_manifest.json").write_text("{}")
    return folder


def test_what_manifests_record_stays_the_same(folder: Path) -> None:
    """Finished folders are recognised by it."""
    files = xxhash.xxh3_128_hexdigest(b"config.json{}model.safetensorsweights")
    base = Base(str(folder), None, False)
    assert base.identity() == {"name": str(folder), "files": files}


def test_seeds_share_one_reading(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    opened = Path.open

    def noting(path: Path, mode: str = "r", *more: object, **named: object) -> object:
        if path.parent == folder:
            read.append(path.name)
        return opened(path, mode, *more, **named)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", noting)
    first, *others = [Base(str(folder), None, False).identity() for _seed in range(3)]
    assert others == [first, first]
    assert read == ["config.json", "model.safetensors"]
    (folder / "model.safetensors").write_bytes(b"Weights")
    assert Base(str(folder), None, False).identity() != first


def test_samples_are_of_the_tensors_bytes(tmp_path):
    """Spread over all files, each hash of how a tensor's own bytes begin."""
    for number in range(2):
        tensors = {
            f"{number}.{place}": torch.full((3, 20_000), number + place, dtype=torch.bfloat16)
            for place in range(30)
        }
        save_file(tensors, tmp_path / f"{number}.safetensors")
    samples = Base(str(tmp_path), None, False).samples()
    assert len(samples) == 60
    data = torch.full((65536 // 2,), 5.0, dtype=torch.bfloat16).view(torch.uint8).numpy()
    expected = {
        "dtype": "BF16",
        "shape": [3, 20_000],
        "begins": xxhash.xxh3_128_hexdigest(bytes(data)),
    }
    assert samples["1.4"] == expected
    assert Base("owner/name", None, False).samples() == {}
