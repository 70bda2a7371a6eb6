"""NaN and infinity, in what is read and in what is written."""

import pytest
import torch
from merge_models import copy_with, weights
from merge_refusals import refused

from merge import MergeError, Options, merge
from merge.formats.finite_values import all_finite


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_input_that_is_not_finite(tmp_path, models, bad):
    name = "model.layers.1.mlp.up_proj.weight"
    values = weights(models(1))[name].clone()
    values[3, 4] = bad
    tuned = copy_with(models(1), tmp_path / "tuned", {name: values})
    message = refused(tmp_path, models(0), tuned, "holds NaN or infinity")
    assert name in message
    assert "element 52" in message
    options = Options(allow_nonfinite=True)
    merge("linear", base=models(0), tuned=[tuned], lambdas=[1], out=tmp_path / "o", options=options)
    assert not torch.isfinite(weights(tmp_path / "o")[name]).all()


def test_output_that_overflows(tmp_path, models):
    big = copy_with(models(1), tmp_path / "big", {"model.norm.weight": torch.full((16,), 1e5)})
    with pytest.raises(MergeError, match=r"NaN or infinity in model.norm.weight as F16"):
        merge(
            "linear",
            base=models(0),
            tuned=[big],
            lambdas=[1],
            dtype="float16",
            out=tmp_path / "out",
        )
    assert not (tmp_path / "out").exists()


def test_values_whose_sum_overflows_are_finite(tmp_path, models):
    """The largest numbers of float32, which add up to infinity and are none."""
    assert all_finite(torch.full((4,), 3e38))
    assert not all_finite(torch.tensor([3e38, float("inf")]))
    assert not all_finite(torch.tensor([float("inf"), float("-inf")]))
    big = {"extra": torch.full((4,), 3e38)}
    base, tuned = (copy_with(models(seed), tmp_path / str(seed), big) for seed in (0, 1))
    merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    assert torch.equal(weights(tmp_path / "out")["extra"], big["extra"])
