"""Only checkpoints of one shape share an engine."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from safemerge_tasks.common.errors import SafemergeError
from safemerge_tasks.sweep.serving.checkpoints import is_quantised, shape


def checkpoint(
    folder: Path, tensors: dict[str, torch.Tensor] | None = None, **config: object
) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", **config}))
    save_file(tensors or {"a": torch.ones(2, 3), "b": torch.ones(4)}, folder / "m.safetensors")
    return folder


def test_other_weights_under_another_name_have_the_same_shape(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one", _name_or_path="one", transformers_version="5.0")
    other = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    assert shape(one) == shape(checkpoint(tmp_path / "two", other))


def test_shards_do_not_matter(tmp_path: Path) -> None:
    one = checkpoint(tmp_path / "one")
    two = checkpoint(tmp_path / "two", {"a": torch.ones(2, 3)})
    save_file({"b": torch.ones(4)}, two / "n.safetensors")
    assert shape(one) == shape(two)


def test_other_names_sizes_types_and_settings_are_other_shapes(tmp_path: Path) -> None:
    a, b = torch.ones(2, 3), torch.ones(4)
    generating = checkpoint(tmp_path / "generating")
    (generating / "generation_config.json").write_text('{"eos_token_id": [1, 2]}')
    folders = [
        checkpoint(tmp_path / "plain"),
        checkpoint(tmp_path / "size", {"a": torch.ones(3, 3), "b": b}),
        checkpoint(tmp_path / "type", {"a": a.bfloat16(), "b": b}),
        checkpoint(tmp_path / "missing", {"a": a}),
        checkpoint(tmp_path / "tied", tie_word_embeddings=True),
        generating,
    ]
    assert len({shape(folder) for folder in folders}) == len(folders)


def test_what_is_no_checkpoint_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(SafemergeError, match="config.json cannot be read"):
        shape(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(SafemergeError, match="holds no safetensors file"):
        shape(tmp_path)
    (tmp_path / "model.safetensors").write_text("nothing")
    with pytest.raises(SafemergeError, match="is no readable safetensors file"):
        shape(tmp_path)


def test_quantised_weights_are_told(tmp_path: Path) -> None:
    assert not is_quantised(checkpoint(tmp_path / "plain"))
    assert is_quantised(checkpoint(tmp_path / "q", quantization_config={"quant_method": "awq"}))


def test_weights_that_are_in_no_folder_count_like_those_that_are(tmp_path: Path) -> None:
    there = checkpoint(tmp_path / "there")
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "config.json").write_bytes((there / "config.json").read_bytes())
    weights = {"b": ("F32", [4]), "a": ("F32", [2, 3])}
    assert shape(empty, weights) == shape(there)
    assert shape(empty, weights | {"b": ("F32", [5])}) != shape(there)
