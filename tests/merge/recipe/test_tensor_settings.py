"""Values that differ from tensor to tensor."""

import pytest

from merge import MergeError
from merge.recipe.tensor_settings import Filtered, evaluate, places


def test_depth_of_tensors():
    found = places(
        ["model.embed_tokens.weight", *(f"model.layers.{n}.w" for n in range(5)), "lm_head.weight"]
    )
    assert [place.depth for place in found.values()] == [0, 0, 0.25, 0.5, 0.75, 1, 0]
    assert places(["model.layers.0.w"])["model.layers.0.w"].depth == 1


def test_evaluate_hand_computed():
    place = places([f"model.layers.{n}.mlp.w" for n in range(5)])["model.layers.1.mlp.w"]
    assert evaluate(0.3, place, what="x") == 0.3
    assert evaluate([0, 1], place, what="x") == 0.25
    assert evaluate([1, 0, 1], place, what="x") == 0.5
    filtered = [Filtered(filter="attn", value=9), Filtered(filter=".mlp.", value=[0, 2])]
    assert evaluate(filtered, place, what="x") == 0.5
    with pytest.raises(MergeError, match=r"no value for tensor model.layers.1.mlp.w"):
        evaluate(filtered[:1], place, what="x")


def test_every_stack_of_layers_has_its_own_depth():
    """A tower or an encoder may have more layers than what stands beside it."""
    names = [f"model.language_model.layers.{n}.w" for n in range(3)]
    names += [f"model.vision_tower.encoder.layers.{n}.w" for n in range(5)]
    depths = [place.depth for place in places([*names, "model.language_model.norm.w"]).values()]
    assert depths == [0, 0.5, 1, 0, 0.25, 0.5, 0.75, 1, 0]
    found = places([f"{side}.block.{n}.w" for side in ("encoder", "decoder") for n in range(2)])
    assert [place.depth for place in found.values()] == [0, 1, 0, 1]
