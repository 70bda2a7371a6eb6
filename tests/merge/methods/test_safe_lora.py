"""Safe LoRA against dense projections in float64."""

import peft
import pytest
import torch
import transformers
from merge_models import assert_rounded, copy_with, doubles, peft_merged, random_model, weights

from merge import MergeError, Options, build_recipe, merge
from merge.engine.open_inputs import open_inputs
from merge.engine.plan import make_plan
from merge.engine.run import measure


def reference_safe_lora(base, unaligned, tuned):
    """Return, by tensor, the cosine and the projected update."""
    found = {}
    for name in base:
        update = tuned[name] - base[name]
        if not update.any():
            continue
        v = base[name] - unaligned[name]
        projected = v @ v.T / v.norm() @ update
        cosine = (projected * update).sum() / (projected.norm() * update.norm())
        found[name] = (float(cosine), projected)
    return found


@pytest.mark.parametrize("parameters", [{"threshold": 0.3}, {"layers": 3}, {"threshold": -1}])
def test_safe_lora(tmp_path, models, adapters, parameters):
    done = merge(
        "safe-lora",
        base=models(0),
        tuned=[adapters(1)],
        unaligned=str(models(2)),
        parameters=parameters,
        out=tmp_path / "out",
    )
    base, unaligned = doubles(models(0)), doubles(models(2))
    tuned = {name: value.double() for name, value in peft_merged(models(0), adapters(1)).items()}
    found = reference_safe_lora(base, unaligned, tuned)
    lowest = sorted(found, key=lambda name: found[name][0])[: parameters.get("layers", 0)]
    projected = 0
    for name, tensor in weights(tmp_path / "out").items():
        cosine, update = found.get(name, (1.0, tuned[name] - base[name]))
        chosen = name in lowest if "layers" in parameters else cosine <= parameters["threshold"]
        projected += chosen
        assert_rounded(tensor, base[name] + update if chosen else tuned[name])
    assert done.report.get("updates projected", 0) == projected
    assert projected == {"threshold": projected, "layers": 3}[next(iter(parameters))]
    assert done.report["updates kept"] + projected == len(found)


def test_safe_lora_without_a_direction(tmp_path, models, adapters):
    """Where aligned and unaligned are equal there is nothing to project onto: the update stays."""
    one_stays_as_it_is(tmp_path, models, adapters, {"threshold": 0.99})


def test_safe_lora_needs_an_adapter(tmp_path, models):
    with pytest.raises(MergeError, match="give the adapter"):
        merge(
            "safe-lora",
            base=models(0),
            tuned=[models(1)],
            unaligned=str(models(2)),
            out=tmp_path / "out",
        )


def test_more_updates_to_project_than_directions(tmp_path, models, adapters):
    """With every tensor asked for, the one whose V is zero stays as it is."""
    one_stays_as_it_is(tmp_path, models, adapters, {"layers": 99})


def one_stays_as_it_is(tmp_path, models, adapters, parameters):
    name = "model.layers.1.self_attn.q_proj.weight"
    unaligned = copy_with(models(2), tmp_path / "unaligned", {name: weights(models(0))[name]})
    done = merge(
        "safe-lora",
        base=models(0),
        tuned=[adapters(1)],
        unaligned=str(unaligned),
        parameters=parameters,
        out=tmp_path / "out",
    )
    assert done.report["updates kept"] == 1
    tuned = peft_merged(models(0), adapters(1))[name].double()
    assert_rounded(weights(tmp_path / "out")[name], tuned)


def test_what_is_kept_of_a_whole_model_is_what_is_projected(models, adapters):
    """Ranking measures all tensors before the first is merged, and forgets the others' factors."""
    recipe = build_recipe(
        method="safe-lora",
        base=str(models(0)),
        tuned=[{"model": str(adapters(1))}],
        unaligned=str(models(2)),
        parameters={"layers": 2},
    )
    with open_inputs(recipe) as [inputs]:
        totals, _ = measure(make_plan(recipe, inputs), Options())
    kept = [sum(part.numel() for part in own) for own in totals.values()]
    assert sorted(kept)[-3] <= 4
    assert sum(own[1].numel() > 1 for own in totals.values() if len(own) > 2) == 2


@pytest.mark.parametrize("parameters", [{"threshold": 1}, {"layers": 2}])
def test_safe_lora_on_weights_stored_the_other_way(tmp_path, parameters):
    """GPT-2's layers are `[in, out]` in files; the projection is on a layer's outputs there too."""
    config = transformers.GPT2Config(vocab_size=32, n_embd=16, n_layer=2, n_head=2, n_positions=16)
    for seed in (0, 1):
        random_model(config, seed).save_pretrained(tmp_path / str(seed))
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "0")
    lora = peft.LoraConfig(r=2, target_modules=["c_attn"], fan_in_fan_out=True)
    torch.manual_seed(1)
    wrapped = peft.get_peft_model(model, lora)
    with torch.no_grad():
        for parameter in wrapped.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape))
    wrapped.save_pretrained(tmp_path / "adapter")
    arguments = {"unaligned": str(tmp_path / "1"), "parameters": parameters}
    done = merge(
        "safe-lora",
        base=tmp_path / "0",
        tuned=[tmp_path / "adapter"],
        out=tmp_path / "out",
        **arguments,
    )
    assert done.report == {"updates projected": 2}
    base, unaligned = doubles(tmp_path / "0"), doubles(tmp_path / "1")
    tuned = peft_merged(tmp_path / "0", tmp_path / "adapter")
    merged = doubles(tmp_path / "out")
    for layer in range(2):
        name = f"transformer.h.{layer}.attn.c_attn.weight"
        update = (tuned[name].double() - base[name]).T
        v = (base[name] - unaligned[name]).T
        exact = base[name] + (v @ v.T / v.norm() @ update).T
        torch.testing.assert_close(merged[name], exact, rtol=1e-5, atol=1e-5)
