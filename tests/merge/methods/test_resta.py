"""RESTA against its formula in float64, from models and from adapters."""

import pytest
from merge_models import assert_rounded, doubles, peft_merged, weights
from method_references import reference_dare, subtract

from merge import merge


@pytest.mark.parametrize("drop_rate", [0, 0.3])
def test_resta(tmp_path, models, drop_rate):
    merge(
        "resta",
        aligned=str(models(0)),
        unaligned=str(models(2)),
        tuned=[models(1)],
        parameters={"gamma": 0.5, "drop_rate": drop_rate},
        seed=42,
        out=tmp_path / "out",
    )
    aligned, tuned, unaligned = (doubles(models(seed)) for seed in range(3))
    task = subtract(tuned, aligned)
    if drop_rate:
        task = reference_dare(task, 42, drop_rate)
    for name, tensor in weights(tmp_path / "out").items():
        exact = aligned[name] + task[name] + 0.5 * (aligned[name] - unaligned[name])
        assert_rounded(tensor, exact)


def test_resta_from_adapters(tmp_path, models, adapters):
    merge(
        "resta",
        base=models(0),
        tuned=[adapters(1)],
        unaligned=str(adapters(2)),
        parameters={"gamma": 0.5},
        out=tmp_path / "out",
    )
    base = doubles(models(0))
    tuned, unaligned = peft_merged(models(0), adapters(1)), peft_merged(models(0), adapters(2))
    for name, tensor in weights(tmp_path / "out").items():
        exact = tuned[name].double() + 0.5 * (base[name] - unaligned[name].double())
        assert_rounded(tensor, exact)
