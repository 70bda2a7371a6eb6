"""Make the synthetic models that the merge benchmark runs on.

A Llama of about 1.1 billion parameters by default, in bfloat16: a base, fine-tuned models that
differ from it as fine-tunes do (small changes of every weight), and a LoRA adapter. The values are
random; how fast a merge runs does not depend on them.
"""

import argparse
import json
import multiprocessing
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

# Name: (hidden size, intermediate size, layers, attention heads, key-value heads, vocabulary).
SHAPES = {
    "tiny": (256, 704, 4, 4, 2, 1000),
    "0.15b": (768, 2048, 12, 12, 12, 32000),
    "0.5b": (1536, 4096, 14, 12, 4, 32000),
    "1.1b": (2048, 5632, 22, 32, 4, 32000),
    "3b": (3072, 8192, 26, 24, 8, 32000),
    "8b": (4096, 14336, 32, 32, 8, 128256),
    "70b": (8192, 28672, 80, 64, 8, 128256),
}


def tensor_shapes(size: str) -> dict[str, tuple[int, ...]]:
    """Return every tensor's shape."""
    hidden, inner, layers, heads, kv_heads, vocabulary = SHAPES[size]
    narrow = hidden // heads * kv_heads
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (vocabulary, hidden)}
    for layer in range(layers):
        prefix = f"model.layers.{layer}."
        shapes |= {
            prefix + "self_attn.q_proj.weight": (hidden, hidden),
            prefix + "self_attn.k_proj.weight": (narrow, hidden),
            prefix + "self_attn.v_proj.weight": (narrow, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, hidden),
            prefix + "mlp.gate_proj.weight": (inner, hidden),
            prefix + "mlp.up_proj.weight": (inner, hidden),
            prefix + "mlp.down_proj.weight": (hidden, inner),
            prefix + "input_layernorm.weight": (hidden,),
            prefix + "post_attention_layernorm.weight": (hidden,),
        }
    return shapes | {"model.norm.weight": (hidden,), "lm_head.weight": (vocabulary, hidden)}


def config(size: str) -> dict[str, object]:
    """Return the model's configuration."""
    hidden, inner, layers, heads, kv_heads, vocabulary = SHAPES[size]
    return {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "vocab_size": vocabulary,
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 2048,
        "rms_norm_eps": 1e-5,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


def write_model(folder: Path, size: str, seed: int, shard_bytes: int) -> None:
    """Write a base (seed 0) or a fine-tuned model, shard by shard."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(size)))
    (folder / "generation_config.json").write_text("{}")
    shards: list[dict[str, torch.Tensor]] = [{}]
    weight_map, filled, total = {}, 0, 0
    for number, (name, shape) in enumerate(tensor_shapes(size).items()):
        tensor = make_tensor(number, shape, seed)
        if filled and filled + tensor.nbytes > shard_bytes:
            flush(folder, len(shards), shards[-1])
            shards.append({})
            shards[-2].clear()
            filled = 0
        shards[-1][name] = tensor
        filled, total = filled + tensor.nbytes, total + tensor.nbytes
        weight_map[name] = f"model-{len(shards):05d}.safetensors"
    flush(folder, len(shards), shards[-1])
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def flush(folder: Path, number: int, tensors: dict[str, torch.Tensor]) -> None:
    """Write one shard."""
    path = folder / f"model-{number:05d}.safetensors"
    save_file(tensors, path, metadata={"format": "pt"})


def make_tensor(number: int, shape: tuple[int, ...], seed: int) -> torch.Tensor:
    """Return a base tensor, plus a seed's fine-tuning update."""
    generator = torch.Generator().manual_seed(number)
    values = torch.empty(shape).normal_(0, 0.02, generator=generator)
    if seed:
        generator.manual_seed(seed * 100_003 + number)
        values += torch.empty(shape).normal_(0, 0.002, generator=generator)
    return values.to(torch.bfloat16)


def write_adapter(folder: Path, size: str, rank: int = 8, ends: tuple[str, ...] = ("",)) -> None:
    """Write a LoRA adapter on every linear layer, or on those whose names have these ends."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(7)
    tensors = {}
    modules = set()
    for name, shape in tensor_shapes(size).items():
        module = name.removesuffix(".weight")
        if "_proj" not in name or not module.endswith(ends):
            continue
        modules.add(module.rsplit(".", 1)[1])
        for half, half_shape in (("A", (rank, shape[1])), ("B", (shape[0], rank))):
            values = torch.empty(half_shape).normal_(0, 0.02, generator=generator)
            tensors[f"base_model.model.{module}.lora_{half}.weight"] = values
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "r": rank,
        "lora_alpha": 16,
        "target_modules": sorted(modules),
    }
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def make_all(root: Path, size: str, tuned: int) -> None:
    """Write whatever of the base, the fine-tuned models and the adapter is not there yet."""
    for seed in range(tuned + 1):
        folder = root / size / ("base" if seed == 0 else f"tuned{seed}")
        if not folder.exists():
            write_model(folder, size, seed, shard_bytes=5 * 10**9)
    if not (root / size / "adapter").exists():
        write_adapter(root / size / "adapter", size)
    if not (root / size / "adapter-qv").exists():
        write_adapter(root / size / "adapter-qv", size, ends=("q_proj", "v_proj"))


def make_apart(root: Path, size: str, tuned: int) -> Path:
    """Make the models in a process of its own and return their folder.

    The kernel counts a parent's peak as its children's, so whoever measures must stay small.
    """
    maker = multiprocessing.get_context("spawn").Process(
        target=make_all, args=(root, size), kwargs={"tuned": tuned}
    )
    maker.start()
    maker.join()
    if maker.exitcode:
        sys.exit("The synthetic models could not be made; the reason is above.")
    return root / size


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("--size", choices=SHAPES, default="1.1b")
    parser.add_argument("--tuned", type=int, default=3)
    arguments = parser.parse_args()
    make_all(arguments.root, arguments.size, arguments.tuned)
