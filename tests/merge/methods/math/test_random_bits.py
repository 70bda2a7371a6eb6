"""Random bits: uniform, independent, and a function of the element alone."""

import itertools

import numpy as np
import torch

from merge.methods.math.random_bits import keep_mask, random_bits


def test_random_bits_do_not_depend_on_the_block():
    whole = random_bits(1, "x", 0, 0, 1000, "cpu")
    parts = [random_bits(1, "x", 0, start, start + 250, "cpu") for start in range(0, 1000, 250)]
    assert torch.equal(whole, torch.cat(parts))
    beyond = 2**32 + 7
    assert not torch.equal(whole[7:17], random_bits(1, "x", 0, beyond, beyond + 10, "cpu"))


def test_random_bits_are_uniform_and_independent():
    count = 1 << 18
    streams = [
        random_bits(seed, name, model, 0, count, "cpu").numpy().view(np.uint32)
        for seed, name, model in [(0, "a", 0), (0, "a", 1), (0, "b", 0), (1, "a", 0)]
    ]
    for bits in streams:
        buckets = np.bincount(bits >> 24, minlength=256)
        statistic = float(((buckets - count / 256) ** 2 / (count / 256)).sum())
        assert statistic < 350  # chi-squared with 255 degrees of freedom: p about 1e-4
        ones = [(bits >> shift & 1).mean() for shift in range(32)]
        assert np.abs(np.array(ones) - 0.5).max() < 0.005
        lagged = np.corrcoef(bits[:-1].astype(float), bits[1:].astype(float))[0, 1]
        assert abs(lagged) < 0.01
    for one, other in itertools.combinations(streams, 2):
        assert abs(np.corrcoef(one.astype(float), other.astype(float))[0, 1]) < 0.01


def test_keep_mask_rate():
    for rate in (0.1, 0.5, 0.9):
        kept = (keep_mask(3, "w", 0, 0, 1 << 18, rate, "cpu") == -1).double().mean()
        assert abs(float(kept) - (1 - rate)) < 0.004
