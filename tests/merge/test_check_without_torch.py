"""`--check` reads headers and configurations, and does not wait for torch."""

import json
import subprocess
import sys

import pytest

from merge.formats.safetensors import build_header

CODE = """
import sys
from safemerge_tasks.cli import main
sys.argv[1:] = {arguments!r}
try:
    main()
finally:
    heavy = {{"torch", "numpy", "transformers", "peft", "huggingface_hub"}} & set(sys.modules)
    assert not heavy, heavy
"""
HIDDEN, INNER, LAYERS, NARROW, VOCABULARY = 4096, 14336, 32, 1024, 128256
MODULES = {
    "self_attn.q_proj": (HIDDEN, HIDDEN),
    "self_attn.k_proj": (NARROW, HIDDEN),
    "self_attn.v_proj": (NARROW, HIDDEN),
    "self_attn.o_proj": (HIDDEN, HIDDEN),
    "mlp.gate_proj": (INNER, HIDDEN),
    "mlp.up_proj": (INNER, HIDDEN),
    "mlp.down_proj": (HIDDEN, INNER),
    "input_layernorm": (HIDDEN,),
    "post_attention_layernorm": (HIDDEN,),
}


def check(*arguments):
    code = CODE.format(arguments=["merge", *map(str, arguments), "--check", "--json"])
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.fixture(scope="module")
def hollow(tmp_path_factory):
    """A base and a fine-tuned model of eight billion parameters: headers and holes."""
    root = tmp_path_factory.mktemp("hollow")
    shapes = {"model.embed_tokens.weight": (VOCABULARY, HIDDEN), "model.norm.weight": (HIDDEN,)}
    for layer in range(LAYERS):
        for module, shape in MODULES.items():
            shapes[f"model.layers.{layer}.{module}.weight"] = shape
    shapes["lm_head.weight"] = (VOCABULARY, HIDDEN)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": VOCABULARY,
        "hidden_size": HIDDEN,
        "num_hidden_layers": LAYERS,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }
    for name in ("base", "tuned"):
        folder = root / name
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        header, entries = build_header({each: ("BF16", shapes[each]) for each in shapes})
        with (folder / "model.safetensors").open("wb") as file:
            file.write(header)
            file.truncate(max(entry.offset + entry.nbytes for entry in entries.values()))
    return root


@pytest.mark.parametrize(
    "more",
    [["linear", "--lambda", "0.2,0.4"], ["ties", "--density", "0.5"], ["slerp", "--lambda", "1"]],
)
def test_eight_billion_parameters(hollow, more):
    found = check("--method", *more, "--base", hollow / "base", "--tuned", hollow / "tuned")
    assert found["tensors"] == 291
    assert found["bytes"] == found["outputs"] * 2 * 8_030_261_248


@pytest.mark.parametrize("more", [[], ["--as", "adapter"]])
def test_an_adapter_whose_values_are_looked_at(models, adapters, more):
    given = ["--base", models(0), "--tuned", adapters(1), "--lambda", "0.5"]
    assert check("--method", "linear", *given, *more)["tensors"] == 21
