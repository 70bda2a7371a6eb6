"""Comparing stored tensors, to the bit or by value."""

import os

import pytest
import torch

from merge.formats.same_values import all_zero, same_values
from merge.formats.stored_tensor import StoredTensor

CODES = {torch.bfloat16: "BF16", torch.float16: "F16", torch.float32: "F32", torch.float64: "F64"}


@pytest.fixture
def stored(tmp_path):
    opened = []

    def store(values):
        path = tmp_path / f"{len(opened)}.bin"
        path.write_bytes(values.contiguous().flatten().view(torch.uint8).numpy().tobytes())
        opened.append(os.open(path, os.O_RDONLY))
        code = CODES[values.dtype]
        return StoredTensor("t", code, tuple(values.shape), path, opened[-1], 0)

    yield store
    for descriptor in opened:
        os.close(descriptor)


@pytest.mark.parametrize("dtype", CODES)
def test_zeros_have_either_sign_and_nothing_else(stored, dtype):
    zeros = torch.zeros(300, dtype=dtype)
    zeros[::7] = -0.0
    assert all_zero(stored(zeros))
    for place in (0, 150, 299):
        for value in (torch.finfo(dtype).tiny, -1.0, torch.finfo(dtype).max):
            values = zeros.clone()
            values[place] = value
            assert not all_zero(stored(values))


@pytest.mark.parametrize("byte", range(3))
def test_the_sign_bit_s_value_in_another_byte_is_a_number(stored, byte):
    bits = torch.zeros(120, dtype=torch.int32)
    bits[101] = 0x80 << (8 * byte)
    assert not all_zero(stored(bits.view(torch.float32)))


def test_the_same_numbers_in_two_types(stored):
    values = torch.randn(300, generator=torch.Generator().manual_seed(0)).bfloat16()
    assert same_values(stored(values), stored(values.float()))
    assert same_values(stored(values), stored(values))
    for place in (0, 299):
        other = values.clone()
        other[place] += 1
        assert not same_values(stored(values), stored(other))
        assert not same_values(stored(values.float()), stored(other))
    assert not same_values(stored(values), stored(values.reshape(2, 150)))
