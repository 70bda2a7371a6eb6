"""TIES against its formula in float64."""

import pytest
import torch
from merge_models import assert_rounded, copy_with, doubles, weights
from method_references import merged_by, reference_elect, reference_trim, subtract

from merge import Options, merge


@pytest.mark.parametrize("density", [0.0, 0.2, 0.55, 1.0])
def test_ties(tmp_path, models, density):
    folders = [models(0), models(1), models(2)]
    merged = merged_by("ties", tmp_path, folders, lambdas=[0.8], parameters={"density": density})
    base, *tuned = (doubles(folder) for folder in folders)
    for name, tensor in merged.items():
        trimmed = [reference_trim(model[name] - base[name], density) for model in tuned]
        assert_rounded(tensor, base[name] + 0.8 * reference_elect(trimmed, [1.0, 1.0]))


def test_ties_over_the_whole_model(tmp_path, models):
    folders = [models(0), models(1), models(2)]
    merged = merged_by(
        "ties",
        tmp_path,
        folders,
        lambdas=[1],
        parameters={"density": 0.3, "whole_model": 1},
    )
    base, *tuned = (doubles(folder) for folder in folders)
    deltas = [subtract(model, base) for model in tuned]
    trimmed = []
    for delta in deltas:
        flat = torch.cat([value.flatten() for value in delta.values()])
        threshold = flat.abs().sort(descending=True).values[int(0.3 * len(flat)) - 1]
        trimmed.append(
            {name: torch.where(v.abs() >= threshold, v, 0.0) for name, v in delta.items()}
        )
    for name, tensor in merged.items():
        elected = reference_elect([delta[name] for delta in trimmed], [1.0, 1.0])
        assert_rounded(tensor, base[name] + elected)


def test_ties_of_one_model_scales_by_its_weight(tmp_path, models):
    folders = [models(0), models(1)]
    arguments = {"lambdas": [1], "parameters": {"density": 0.5, "weight": 0.5}}
    merged = merged_by("ties", tmp_path, folders, **arguments)
    base, tuned = doubles(folders[0]), doubles(folders[1])
    for name, tensor in merged.items():
        assert_rounded(tensor, base[name] + 0.5 * reference_trim(tuned[name] - base[name], 0.5))


@pytest.mark.parametrize("block", [2, 100])
@pytest.mark.parametrize(
    ("delta", "density", "kept"),
    [
        # As mergekit counts: rounded down, at least one, and none at 0.
        (range(1, 11), 0.28, [9, 10]),
        (range(1, 11), 0.1, [10]),
        (range(1, 4), 0.1, [3]),
        (range(1, 4), 0, []),
        (range(1, 4), 1, [1, 2, 3]),
        # mergekit keeps two of these, and which ones depends on where they are.
        ([1, 3, -4, 3, 2, -3], 0.34, [3, -4, 3, -3]),
    ],
)
def test_how_many_entries_are_kept(tmp_path, models, delta, density, kept, block):
    """Counted in one block, or over several."""
    values = torch.tensor([float(value) for value in delta])
    base = copy_with(models(0), tmp_path / "base", {"extra": torch.zeros(len(values))})
    tuned = copy_with(models(1), tmp_path / "tuned", {"extra": values})
    merge(
        "ties",
        base=base,
        tuned=[tuned],
        parameters={"density": density},
        options=Options(block_elements=block),
        out=tmp_path / "out",
    )
    found = weights(tmp_path / "out")["extra"]
    assert found[found != 0].tolist() == kept
