"""Steps of the methods in float64, written from their papers."""

import hashlib
import itertools

import numpy as np
import torch
from merge_models import weights

from merge import merge


def merged_by(method, tmp_path, folders, **arguments):
    base, *tuned = folders
    merge(method, base=base, tuned=tuned, out=tmp_path / "out", **arguments)
    return weights(tmp_path / "out")


def reference_random(seed, name, stream, count):
    """Random whole numbers below 2³¹, with Python's and numpy's unsigned integers."""
    key = hashlib.blake2b(f"{seed}\0{stream}\0{0}\0{name}".encode(), digest_size=8).digest()
    first, second = np.frombuffer(key, dtype="<u4")
    x = np.arange(count, dtype=np.uint32) ^ first
    x = (x ^ (x >> np.uint32(17))) * np.uint32(0xED5AD4BB) + second
    x = (x ^ (x >> np.uint32(11))) * np.uint32(0xAC4C1B51)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x31848BAB)
    x = x ^ (x >> np.uint32(14))
    return torch.from_numpy((x & np.uint32(0x7FFFFFFF)).astype(np.int64))


def reference_mask(seed, name, stream, count, drop_rate):
    """Which elements are kept."""
    return reference_random(seed, name, stream, count) < round((1 - drop_rate) * 2**31)


def reference_dare(deltas, seed, drop_rate, stream=0):
    return {
        name: torch.where(
            reference_mask(seed, name, stream, delta.numel(), drop_rate).reshape(delta.shape),
            delta / (1 - drop_rate),
            0.0,
        )
        for name, delta in deltas.items()
    }


def subtract(left, right):
    return {name: left[name] - right[name] for name in left}


def reference_elect(deltas, shares, normalize=True):
    stacked = torch.stack([share * delta for share, delta in zip(shares, deltas, strict=True)])
    sign = torch.where(stacked.sum(0) >= 0, 1.0, -1.0)
    agree = torch.sign(stacked) == sign
    total = torch.where(agree, stacked, 0).sum(0)
    if not normalize:
        return total
    weight = torch.tensor(shares, dtype=torch.float64).reshape(-1, *[1] * sign.ndim)
    share = torch.where(agree, weight, 0).sum(0)
    return torch.where(share > 0, total / share, 0.0)


def reference_trim(delta, density):
    if density == 0:
        return torch.zeros_like(delta)
    count = max(1, int(density * delta.numel()))
    threshold = delta.abs().flatten().sort(descending=True).values[count - 1]
    return torch.where(delta.abs() >= threshold, delta, 0.0)


def reference_slerp(a, b, share):
    norm = a.norm() * b.norm()
    cosine = max(-1.0, min(1.0, float((a * b).sum() / norm))) if norm else 1.0
    if abs(cosine) > 0.9995:
        return (1 - share) * a + share * b
    angle = np.arccos(cosine)
    return (np.sin((1 - share) * angle) * a + np.sin(share * angle) * b) / np.sin(angle)


def reference_stock(deltas):
    """What Model Stock adds to the base: t times the deltas' mean."""
    flat = [delta.flatten() for delta in deltas]
    pairs = list(itertools.combinations(flat, 2))
    cosine = sum(
        float(torch.cosine_similarity(a, b, dim=0, eps=0)) if a.any() and b.any() else 0.0
        for a, b in pairs
    ) / len(pairs)
    cosine = max(0.0, cosine)
    ratio = len(deltas) * cosine / (1 + (len(deltas) - 1) * cosine)
    return ratio * sum(deltas) / len(deltas)
