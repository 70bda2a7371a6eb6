"""Each model's own weight, density and drop rate, none at its default, against float64."""

import pytest
import torch
from merge_models import doubles
from method_references import reference_dare, reference_elect, reference_trim, subtract

from merge import build_recipe, merge_recipe

# The weights do not add up to 1, so that dividing by their sum shows.
WEIGHTS, RATES, DENSITIES = (0.9, 0.5), (0.25, 0.5), (0.4, 0.8)
SCALE, SEED = 0.6, 3


def dropped(deltas, name):
    return [
        reference_dare({name: delta[name]}, SEED, rate, stream)[name]
        for stream, (delta, rate) in enumerate(zip(deltas, RATES, strict=True))
    ]


def weighted(parts):
    return sum(weight * part for weight, part in zip(WEIGHTS, parts, strict=True))


EXPECTED = {
    ("linear", None): lambda deltas, name: weighted([d[name] for d in deltas]) / sum(WEIGHTS),
    ("task-arithmetic", False): lambda deltas, name: weighted([d[name] for d in deltas]),
    ("task-arithmetic", True): lambda deltas, name: (
        weighted([d[name] for d in deltas]) / sum(WEIGHTS)
    ),
    ("dare-linear", True): lambda deltas, name: weighted(dropped(deltas, name)) / sum(WEIGHTS),
    ("dare-linear", False): lambda deltas, name: weighted(dropped(deltas, name)),
    ("dare-ties", True): lambda deltas, name: reference_elect(dropped(deltas, name), WEIGHTS),
    ("ties", True): lambda deltas, name: reference_elect(
        [reference_trim(d[name], k) for d, k in zip(deltas, DENSITIES, strict=True)], WEIGHTS
    ),
}


@pytest.mark.parametrize(("method", "normalize"), EXPECTED)
def test_own_parameters(tmp_path, models, method, normalize):
    own = [{"weight": weight} for weight in WEIGHTS]
    for parameters, rate, density in zip(own, RATES, DENSITIES, strict=True):
        if method.startswith("dare"):
            parameters["drop_rate"] = rate
        if method == "ties":
            parameters["density"] = density
    recipe = build_recipe(
        method=method,
        base=str(models(0)),
        tuned=[
            {"model": str(models(seed)), "parameters": parameters}
            for seed, parameters in zip((1, 2), own, strict=True)
        ],
        lambdas=(SCALE,),
        parameters={} if normalize is None else {"normalize": normalize},
        seed=SEED,
        dtype="float32",
    )
    merge_recipe(recipe, tmp_path / "out")
    base = doubles(models(0))
    deltas = [subtract(doubles(models(seed)), base) for seed in (1, 2)]
    for name, tensor in doubles(tmp_path / "out").items():
        exact = base[name] + SCALE * EXPECTED[method, normalize](deltas, name)
        torch.testing.assert_close(tensor, exact, rtol=1e-5, atol=1e-7)
