"""Safetensors files that are not whole."""

import shutil

import pytest
from merge_refusals import refused
from safetensors.torch import save_file


@pytest.mark.parametrize("keep", [0, 5, 100, -2])
def test_truncated_file(tmp_path, models, tuned, keep):
    path = tuned / "model.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    refused(tmp_path, models(0), tuned, "model.safetensors is not a whole safetensors file")


@pytest.mark.parametrize(
    "header",
    [
        b"not json",
        b"[1]",
        b'{"a": 1}',
        b'{"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}}',
        b'{"a": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}',
    ],
)
def test_header_that_contradicts_itself(tmp_path, models, tuned, header):
    path = tuned / "model.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    refused(tmp_path, models(0), tuned, "not a whole safetensors file")


@pytest.mark.parametrize("dtype", ["F32", "I32"])
def test_a_name_twice_in_a_header(tmp_path, models, tuned, dtype):
    """Of which readers of JSON take the last."""
    path = tuned / "model.safetensors"
    entry = b'"a": {"dtype": "%s", "shape": [1], "data_offsets": [0, 4]}'
    header = b"{" + entry % b"F32" + b"," + entry % dtype.encode() + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    refused(tmp_path, models(0), tuned, "its header has a twice")


def test_gits_pointer_to_a_file(tmp_path, models, tuned):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 1234\n"
    (tuned / "model.safetensors").write_text(text)
    refused(tmp_path, models(0), tuned, "is git's pointer to a file; fetch it with git lfs pull")


def test_files_without_tensors(tmp_path, models, tuned):
    """In both, nothing would be missing."""
    base = shutil.copytree(tuned, tmp_path / "base")
    for folder in (base, tuned):
        save_file({}, folder / "model.safetensors")
    refused(tmp_path, base, tuned, "holds no tensors in its weight files")
