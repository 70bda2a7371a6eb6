"""Safetensors files that are not whole."""

import pytest
from merge_refusals import refused


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
