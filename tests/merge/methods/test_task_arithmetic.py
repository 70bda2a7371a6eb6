"""Task arithmetic against its formula in float64."""

from merge_models import assert_rounded, doubles, weights

from merge import build_recipe, merge_recipe


def test_task_arithmetic_with_signed_weights(tmp_path, models):
    recipe = build_recipe(
        method="task-arithmetic",
        base=str(models(0)),
        tuned=[
            {"model": str(models(1)), "parameters": {"weight": 0.7}},
            {"model": str(models(2)), "parameters": {"weight": -0.4}},
        ],
        lambdas=[0.9],
    )
    merge_recipe(recipe, tmp_path / "out")
    base, one, two = (doubles(models(seed)) for seed in range(3))
    for name, tensor in weights(tmp_path / "out").items():
        delta = 0.7 * (one[name] - base[name]) - 0.4 * (two[name] - base[name])
        assert_rounded(tensor, base[name] + 0.9 * delta)
