"""A safety vector saved once gives what its two ends give."""

import pytest
import torch
from merge_models import copy_with, doubles, weights
from typer.testing import CliRunner

from merge import MergeError, merge, verify


def test_saved_vector_equals_its_ends(tmp_path, models, adapters):
    from safemerge_tasks.cli import app

    for number, unaligned in enumerate((models(2), adapters(3))):
        vector, out = tmp_path / f"vector{number}", tmp_path / str(number)
        arguments = ["--aligned", models(0), "--unaligned", unaligned, "--out", vector]
        done = CliRunner().invoke(app, ["vector", *map(str, arguments)])
        assert done.exit_code == 0, done.output
        verify(vector)
        assert {tensor.dtype for tensor in weights(vector).values()} == {torch.float32}
        for name, ends in (
            ("ends", {"unaligned": str(unaligned)}),
            ("saved", {"vector": str(vector)}),
        ):
            merge(
                "resta",
                base=models(0),
                tuned=[models(1)],
                parameters={"gamma": 0.5, "drop_rate": 0.3},
                out=out / name,
                **ends,
            )
        one, two = weights(out / "ends"), weights(out / "saved")
        assert all(torch.equal(one[name], two[name]) for name in one)


def test_a_padded_unaligned_model_on_the_command_line(tmp_path, models):
    """As with a [PAD] token that training added, which says nothing of safety."""
    from safemerge_tasks.cli import app

    longer = {
        name: torch.cat([weights(models(2))[name], torch.ones(1, 16).bfloat16()])
        for name in ("model.embed_tokens.weight", "lm_head.weight")
    }
    unaligned = copy_with(models(2), tmp_path / "unaligned", longer)
    words = ["vector", "--aligned", models(0), "--unaligned", unaligned, "--out", tmp_path / "v"]
    refused = CliRunner().invoke(app, list(map(str, words)))
    assert refused.exit_code != 0
    assert "--vocabulary base keeps the base's rows" in str(refused.exception)
    done = CliRunner().invoke(app, [*map(str, words), "--vocabulary", "base"])
    assert done.exit_code == 0, done.output
    assert weights(tmp_path / "v")["lm_head.weight"].shape[0] == 64


def test_vector_is_the_difference(tmp_path, models):
    merge(
        "safety-vector",
        base=models(0),
        unaligned=str(models(2)),
        dtype="float32",
        out=tmp_path / "v",
    )
    aligned, unaligned = doubles(models(0)), doubles(models(2))
    for name, tensor in doubles(tmp_path / "v").items():
        torch.testing.assert_close(tensor, aligned[name] - unaligned[name], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({}, "needs either --unaligned"), ({"vector": "a", "unaligned": "b"}, "already")],
)
def test_what_a_safety_vector_needs(tmp_path, models, arguments, message):
    with pytest.raises(MergeError, match=message):
        merge("resta", base=models(0), tuned=[models(1)], out=tmp_path / "out", **arguments)
