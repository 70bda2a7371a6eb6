"""DARE with TIES' election against its formula in float64."""

from merge_models import assert_rounded, doubles
from method_references import merged_by, reference_dare, reference_elect, subtract


def test_dare_ties(tmp_path, models):
    folders = [models(0), models(1), models(2)]
    merged = merged_by(
        "dare-ties", tmp_path, folders, lambdas=[0.5], parameters={"drop_rate": 0.25}, seed=9
    )
    base, *tuned = (doubles(folder) for folder in folders)
    dropped = [reference_dare(subtract(m, base), 9, 0.25, i) for i, m in enumerate(tuned)]
    for name, tensor in merged.items():
        elected = reference_elect([delta[name] for delta in dropped], [1.0, 1.0])
        assert_rounded(tensor, base[name] + 0.5 * elected)
