"""Methods that measure tensors of several blocks."""

import torch
from merge_models import copy_with, weights
from method_references import merged_by, reference_elect, reference_trim

from merge import merge


def test_sums_over_many_blocks(tmp_path, models):
    """A tensor of several blocks, whose last one is short, is measured as a whole."""
    torch.manual_seed(3)
    base = torch.randn(700, 1000)
    common = torch.randn(700, 1000)
    one, two = (base + 0.3 * (common + torch.randn(700, 1000)) for _ in range(2))
    folders = [
        copy_with(models(0), tmp_path / str(number), {"big": tensor})
        for number, tensor in enumerate((base, one, two))
    ]
    merged = merged_by("model-stock", tmp_path, folders)["big"]
    deltas = [(tensor.double() - base.double()).flatten() for tensor in (one, two)]
    cosine = float(torch.cosine_similarity(*deltas, dim=0))
    t = 2 * cosine / (1 + cosine)
    assert t > 0.5
    exact = base.double() + t * sum(deltas).reshape(700, 1000) / 2
    torch.testing.assert_close(merged.double(), exact, rtol=1e-6, atol=1e-6)

    merge(
        "ties",
        base=folders[0],
        tuned=folders[1:],
        lambdas=[1],
        parameters={"density": 0.1},
        out=tmp_path / "ties",
    )
    trimmed = [reference_trim((tensor - base).double(), 0.1) for tensor in (one, two)]
    exact = base.double() + reference_elect(trimmed, [1.0, 1.0])
    merged = weights(tmp_path / "ties")["big"]
    torch.testing.assert_close(merged.double(), exact, rtol=1e-5, atol=1e-5)
