"""A merge says how much of it the output's type rounded away."""

import json

import pytest
import torch
from merge_models import copy_with, weights
from safetensors.torch import save_file

from merge import Options, merge
from merge.output.manifest import read_manifest

NAME = "model.layers.0.weight"
# Of bfloat16 between 1 and 2.
STEP = 2.0**-7


def written(folder, steps, dtype=torch.bfloat16):
    """Write a model whose entries lie so many steps above one."""
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"model_type": "llama"}))
    values = (1 + STEP * torch.tensor(steps)).to(dtype)
    save_file({NAME: values}, folder / "model.safetensors")
    return folder


# By how many steps a fine-tune moved each of ten entries.
MOVED = [0.0, 0.0, 1, -1, 1, 1, 2, -3, 8, 1]


@pytest.fixture
def pair(tmp_path):
    zeros = [0.0] * len(MOVED)
    return written(tmp_path / "base", zeros), written(tmp_path / "tuned", MOVED)


def rounding(folder):
    return read_manifest(folder)["rounding"]


def test_steps_of_one_bit(tmp_path, pair):
    base, tuned = pair
    done = merge(
        "linear", base=base, tuned=[tuned], lambdas=[0.2, 0.4, 0.6, 1.0], out=tmp_path / "out"
    )
    found = [rounding(folder) for folder in done.folders]
    # One step is 0.2, 0.4 or 0.6 of one, that is none, none or all of it, and two are 0.4, 0.8 or
    # 1.2, that is none or one. Below 1 a step is half as large, so -1 is two of them and -3 six:
    # 0.4, 0.8 and 1.2, and 1.2, 2.4 and 3.6.
    assert found == [
        {"share": 0.75, "compared": 10, "differing": 8, "to_base": 6, "to_tuned": 0},
        {"share": 0.5, "compared": 10, "differing": 8, "to_base": 4, "to_tuned": 0},
        {"share": 0.5, "compared": 10, "differing": 8, "to_base": 0, "to_tuned": 4},
        {"share": 0.0, "compared": 10, "differing": 8, "to_base": 0, "to_tuned": 0},
    ]
    # The counts are those of the files.
    before, after = weights(base)[NAME], weights(tuned)[NAME]
    for folder, each in zip(done.folders[:3], found, strict=False):
        out = weights(folder)[NAME]
        differs = before != after
        assert int(((out == before) & differs).sum()) == each["to_base"]
        assert int(((out == after) & differs).sum()) == each["to_tuned"]
    [note] = done.notes
    assert note == (
        "of the entries where the inputs differ 75% (λ = 0.2), 50% (λ = 0.4), 50% (λ = 0.6) came "
        "out exactly as in the base or the fine-tuned model, because bfloat16 has no value "
        "between; take --dtype float32, an adapter or another λ"
    )
    assert note in read_manifest(done.folders[0])["notes"]


def test_float32_and_wide_steps_lose_nothing(tmp_path, pair):
    base, tuned = pair
    arguments = {"base": base, "tuned": [tuned], "lambdas": [0.4]}
    done = merge("linear", dtype="float32", out=tmp_path / "wide", **arguments)
    assert (done.notes, rounding(tmp_path / "wide")["share"]) == ((), 0)
    far = written(tmp_path / "far", [10.0 * each for each in MOVED])
    done = merge("linear", base=base, tuned=[far], lambdas=[0.4], out=tmp_path / "far-out")
    assert (done.notes, rounding(tmp_path / "far-out")["share"]) == ((), 0)


def test_up_to_a_tenth_is_not_worth_a_word(tmp_path):
    """One entry of ten, and two."""
    base = written(tmp_path / "base", [0.0] * 10)
    for lost in (1, 2):
        tuned = written(tmp_path / f"tuned{lost}", [1.0] * lost + [20.0] * (10 - lost))
        done = merge("linear", base=base, tuned=[tuned], lambdas=[0.4], out=tmp_path / f"o{lost}")
        assert rounding(tmp_path / f"o{lost}")["share"] == lost / 10
        assert len(done.notes) == lost - 1


@pytest.mark.parametrize(
    ("method", "arguments", "to_base", "to_tuned"),
    [
        # Moves down are left out: every step is one of bfloat16 above one.
        ("task-arithmetic", {"lambdas": [0.4]}, 4, 0),
        ("slerp", {"lambdas": [0.6]}, 0, 4),
        ("dare-linear", {"lambdas": [0.4], "parameters": {"drop_rate": 0.0}}, 4, 0),
        ("ties", {"lambdas": [0.4], "parameters": {"density": 1.0}}, 4, 0),
        ("breadcrumbs", {"lambdas": [0.4], "parameters": {"density": 1.0}}, 4, 0),
        # A tenth of a step is added to every entry, also to the two that were not tuned, and
        # nothing is left of it.
        ("resta", {"unaligned": "lower", "parameters": {"gamma": 0.2}}, 2, 8),
        # 0.4 of half a step more in an entry that one of two models has moved.
        ("linear", {"lambdas": [0.4], "tuned": ["tuned", "other"]}, 5, 0),
    ],
)
def test_other_methods(tmp_path, method, arguments, to_base, to_tuned):
    moved = [0.0, 0.0, 1, 1, 1, 1, 2, 3, 8, 20]
    places = {
        "base": written(tmp_path / "base", [0.0] * 10),
        "tuned": written(tmp_path / "tuned", moved),
        "other": written(tmp_path / "other", [1.0, *moved[1:]]),
        "lower": written(tmp_path / "lower", [-0.5] * 10),
    }
    arguments = {"tuned": ["tuned"], **arguments}
    tuned = [places[name] for name in arguments.pop("tuned")]
    if "unaligned" in arguments:
        arguments["unaligned"] = str(places[arguments["unaligned"]])
    merge(method, base=places["base"], tuned=tuned, out=tmp_path / "out", **arguments)
    found = rounding(tmp_path / "out")
    assert (found["to_base"], found["to_tuned"]) == (to_base, to_tuned)


def test_a_method_without_lambda_is_not_told_of_it(tmp_path, pair):
    base, tuned = pair
    vector = {"unaligned": str(written(tmp_path / "lower", [-0.5] * 10))}
    done = merge(
        "resta", base=base, tuned=[tuned], parameters={"gamma": 0.1}, out=tmp_path / "out", **vector
    )
    assert done.notes[0].endswith("has no value between; take --dtype float32 or an adapter")


def test_a_base_that_the_type_does_not_hold_is_rounded_and_not_lost(tmp_path):
    """Entries of a float32 base move in bfloat16 whenever they pass the middle of a step."""
    base = written(tmp_path / "base", [0.3, 0.4, 0.45], torch.float32)
    tuned = written(tmp_path / "tuned", [0.31, 0.41, 0.44], torch.float32)
    merge("linear", base=base, tuned=[tuned], lambdas=[0.5], dtype="bfloat16", out=tmp_path / "out")
    assert rounding(tmp_path / "out")["share"] == 0


@pytest.mark.parametrize("method", ["linear", "breadcrumbs", "della-linear"])
def test_the_sample_is_the_same_whatever_the_threads(tmp_path, models, monkeypatch, method):
    """Blocks, whole tensors and rows: the same entries are compared, and less than all."""
    tuned = copy_with(
        models(0),
        tmp_path / "tuned",
        {name: each * (1 + 2**-8) for name, each in weights(models(0)).items()},
    )
    monkeypatch.setattr("merge.engine.rounding_loss.SAMPLE", 1000)
    found = []
    for threads in (1, 3):
        out = tmp_path / f"out{threads}"
        options = Options(threads=threads)
        merge(method, base=models(0), tuned=[tuned], lambdas=[0.4], out=out, options=options)
        found.append(rounding(out))
    assert found[0] == found[1]
    assert 0 < found[0]["compared"] < 2000
    assert found[0]["share"] > 0.2
    assert any(", in a sample," in note for note in read_manifest(out)["notes"])


def test_checksums_of_inputs_are_over_what_the_merge_read(tmp_path, models):
    """RESTA with a saved vector reads no base, and neither does the sample in its name."""
    vector = tmp_path / "vector"
    merge("safety-vector", base=models(0), unaligned=str(models(2)), dtype="float32", out=vector)
    merge("resta", base=models(0), tuned=[models(1)], vector=str(vector), out=tmp_path / "out")
    [base, *_] = read_manifest(tmp_path / "out")["inputs"]
    assert (base["role"], base["checksum"], base["tensors_read"]) == ("base", None, 0)


def test_an_adapter_is_not_rounded_to_the_bases_steps(tmp_path, models, adapters):
    arguments = {"base": models(0), "tuned": [adapters(1)], "lambdas": [0.5], "output": "adapter"}
    merge("linear", out=tmp_path / "out", **arguments)
    assert rounding(tmp_path / "out") is None
