"""NaN and infinity, in what is read and in what is written."""

import pytest
import torch
from merge_models import copy_with, weights
from merge_refusals import refused

from merge import MergeError, Options, merge


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
