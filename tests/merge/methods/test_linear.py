import pytest
import torch
from merge_models import assert_rounded, copy_with, doubles, weights

from merge import MergeError, merge


def test_hand_computed(tmp_path, models):
    norm = "model.norm.weight"
    ones = torch.ones(16, dtype=torch.bfloat16)
    base = copy_with(models(0), tmp_path / "base", {norm: ones * 2})
    tuned = copy_with(models(1), tmp_path / "tuned", {norm: ones * 4})
    merge("linear", base=base, tuned=[tuned], lambdas=[0.25], out=tmp_path / "out")
    assert torch.equal(weights(tmp_path / "out")[norm], ones * 2.5)


def test_equals_float64_reference(tmp_path, models):
    base, tuned = models(0), models(1)
    merge("linear", base=base, tuned=[tuned], lambdas=[0.3], out=tmp_path / "out")
    a, b, merged = doubles(base), doubles(tuned), weights(tmp_path / "out")
    assert merged.keys() == a.keys()
    for name, tensor in merged.items():
        assert tensor.dtype == torch.bfloat16
        assert_rounded(tensor, 0.7 * a[name] + 0.3 * b[name])


def test_several_tuned_models_are_averaged_first(tmp_path, models):
    folders = [models(0), models(1), models(2), models(3)]
    merge("linear", base=folders[0], tuned=folders[1:], lambdas=[0.6], out=tmp_path / "out")
    base, *tuned = (doubles(folder) for folder in folders)
    for name, tensor in weights(tmp_path / "out").items():
        mean = sum(model[name] for model in tuned) / 3
        assert_rounded(tensor, 0.4 * base[name] + 0.6 * mean)


def test_ends_are_the_inputs_to_the_bit(tmp_path, models):
    base, tuned = models(0), models(1)
    merge("linear", base=base, tuned=[tuned], lambdas=[0, 1], out=tmp_path / "out")
    for folder, source in (("lambda-0", base), ("lambda-1", tuned)):
        merged = weights(tmp_path / "out" / folder)
        for name, tensor in weights(source).items():
            assert torch.equal(merged[name], tensor)


def test_several_lambdas_equal_one_at_a_time(tmp_path, models):
    base, tuned = models(0), models(1)
    merged = merge("linear", base=base, tuned=[tuned], lambdas=[0.2, 0.8], out=tmp_path / "both")
    assert merged.folders == (tmp_path / "both/lambda-0.2", tmp_path / "both/lambda-0.8")
    for scale, folder in zip((0.2, 0.8), merged.folders, strict=True):
        single = tmp_path / f"single-{scale}"
        merge("linear", base=base, tuned=[tuned], lambdas=[scale], out=single)
        expected = (single / "model.safetensors").read_bytes()
        assert (folder / "model.safetensors").read_bytes() == expected


def test_layouts_and_threads_do_not_matter(tmp_path, models):
    from merge import Options

    merge("linear", base=models(0), tuned=[models(1)], lambdas=[0.5], out=tmp_path / "one")
    merge(
        "linear",
        base=models(0, shard="4KB"),
        tuned=[models(1, shard="9KB")],
        lambdas=[0.5],
        out=tmp_path / "two",
        max_shard_size=3000,
        options=Options(threads=5),
    )
    assert len(list((tmp_path / "two").glob("*.safetensors"))) > 2
    one, two = weights(tmp_path / "one"), weights(tmp_path / "two")
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_mixed_types_follow_the_base(tmp_path, models):
    base, tuned = models(0, dtype="float16"), models(1, dtype="float32")
    merge("linear", base=base, tuned=[tuned], lambdas=[0.5], out=tmp_path / "out")
    merged = weights(tmp_path / "out")
    assert {tensor.dtype for tensor in merged.values()} == {torch.float16}


@pytest.mark.parametrize("scale", [-0.1, 1.5])
def test_lambda_out_of_range(tmp_path, models, scale):
    with pytest.raises(MergeError, match="between 0 and 1"):
        merge("linear", base=models(0), tuned=[models(1)], lambdas=[scale], out=tmp_path / "out")
