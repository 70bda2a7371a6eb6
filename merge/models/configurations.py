"""Whether two models' configurations mean the same function, given the same weights.

The output has the base's configuration. Where another input's gives the same weights another
meaning (another number of heads, another norm), the merge is refused; where it changes the range or
the use of the model only, the user is told.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from merge.models.checkpoint import Checkpoint

# What the same tensors compute depends on these, and their shapes do not tell.
_FUNCTION = frozenset(
    {
        "alibi",
        "apply_residual_connection_post_layernorm",
        "clip_qkv",
        "d_kv",
        "do_layer_norm_before",
        "experts_per_token",
        "feed_forward_proj",
        "head_dim",
        "is_gated_act",
        "logit_scale",
        "logits_scaling",
        "model_type",
        "multi_query",
        "n_group",
        "n_groups",
        "new_decoder_architecture",
        "no_rope_layers",
        "norm_topk_prob",
        "normalize_before",
        "num_experts_per_tok",
        "parallel_attn",
        "query_pre_attn_scalar",
        "relative_attention_max_distance",
        "rescale_every",
        "rotary_dim",
        "rotary_pct",
        "routed_scaling_factor",
        "scale_attn_by_inverse_layer_idx",
        "scale_attn_weights",
        "scale_decoder_outputs",
        "scale_depth",
        "scale_emb",
        "scale_embedding",
        "scoring_func",
        "spatial_merge_size",
        "state_size",
        "time_step_limit",
        "topk_group",
        "topk_method",
        "use_parallel_residual",
        "vision_feature_layer",
        "vision_feature_select_strategy",
    }
)
# The same, as families spell it: heads and their sizes, activations, norms, factors.
_FUNCTION_WORDS = re.compile(
    r"(^|_)(heads?|head_dim|head_size|n_head_kv|act|act_fn|hidden_act|activation\w*|eps|epsilon"
    r"|softcapping|multipliers?|qk_(layer)?norm)$"
)
# Names of one activation.
_SAME = (("silu", "swish"), ("gelu_new", "gelu_pytorch_tanh", "gelu_fast"))
# What training, serving or saving writes and the function does not depend on; and what is settled
# elsewhere: types, tying, vocabularies, special tokens, quantisation.
_ELSEWHERE = frozenset(
    {
        "architectures",
        "auto_map",
        "bos_token_id",
        "decoder_start_token_id",
        "dtype",
        "eos_token_id",
        "finetuning_task",
        "gradient_checkpointing",
        "id2label",
        "initializer_range",
        "label2id",
        "pad_token_id",
        "pretraining_tp",
        "problem_type",
        "quantization_config",
        "return_dict",
        "sep_token_id",
        "task_specific_params",
        "tie_word_embeddings",
        "tokenizer_class",
        "torch_dtype",
        "torchscript",
        "transformers_version",
        "unk_token_id",
        "use_cache",
        "vocab_size",
    }
)
_ELSEWHERE_PARTS = ("_", "unsloth", "output_", "use_return")
_PARTS = ("text_config", "vision_config", "audio_config")
_ROPE = ("rope_theta", "rope_scaling", "rope_parameters")
_SHOWN = 80
_UNKNOWN = "not given"
# A norm's epsilon in float32 and in float64 is one.
_ROUNDING = 1e-6


def compare(base: Checkpoint, other: Checkpoint) -> tuple[list[str], list[str]]:
    """Return what makes two configurations different functions, and what should be known."""
    problems: list[str] = []
    notes: list[str] = []
    for part, one, two in _pairs(base, other):
        for key in one.keys() | two.keys():
            first, second = one.get(key), two.get(key)
            if _is_elsewhere(key) or (isinstance(first, dict) and isinstance(second, dict)):
                continue
            function = key in _FUNCTION or _FUNCTION_WORDS.search(key)
            if function and first != second:
                first, second = _meant(one, key), _meant(two, key)
            elif not (key in one and key in two):
                continue
            if _same(first, second):
                continue
            told = (
                f"{part + '.' if part else ''}{key} is {_show(first)} in {base.folder} and "
                f"{_show(second)} in {other.folder}"
            )
            if function and _UNKNOWN not in (first, second):
                problems.append(
                    f"{told}, so the same weights compute different things; give the model that "
                    "was tuned from this base"
                )
            else:
                notes.append(f"{told}; the output has the first")
        notes += _rope(part, one, two, base, other)
    return sorted(problems), sorted(notes)


_Pair = tuple[str, Mapping[str, Any], Mapping[str, Any]]


def _pairs(base: Checkpoint, other: Checkpoint) -> Iterator[_Pair]:
    """Yield the parts that two configurations have in common, each by its name."""
    one, two = base.config, other.config
    nested = [each.text_config is not each.config for each in (base, other)]
    if nested[0] == nested[1]:
        yield from _parts("", one, two)
        return
    if any(part in (two if nested[0] else one) for part in _PARTS):
        # A model that sees, whose language part was not apart before transformers 4.52.
        yield from _parts("", one, two)
        skipped = {"model_type"}
        one, two = (
            {key: value for key, value in each.text_config.items() if key not in skipped}
            for each in (base, other)
        )
        yield from _parts("text_config", one, two)
    else:
        # A language model by itself is compared with the language part of one that also sees.
        yield from _parts("text_config", base.text_config, other.text_config)


def _parts(name: str, one: Mapping[str, Any], two: Mapping[str, Any]) -> Iterator[_Pair]:
    yield name, one, two
    for key in one.keys() & two.keys():
        first, second = one[key], two[key]
        if not _is_elsewhere(key) and isinstance(first, dict) and isinstance(second, dict):
            yield from _parts(f"{name}.{key}" if name else key, first, second)


def _same(one: Any, two: Any) -> bool:
    if isinstance(one, float) and isinstance(two, float):
        return math.isclose(one, two, rel_tol=_ROUNDING)
    return one == two or any(one in names and two in names for names in _SAME)


def _meant(config: Mapping[str, Any], key: str) -> Any:
    """Return a setting's value, or what transformers takes where none is given."""
    if config.get(key) is not None or key == "model_type":
        return config.get(key)
    from transformers import CONFIG_MAPPING

    try:
        made = CONFIG_MAPPING[config["model_type"]].from_dict(dict(config))
    except Exception:  # a model of one's own, or a part that does not say what it is
        return _UNKNOWN
    return getattr(made, key, None)


def _is_elsewhere(key: str) -> bool:
    if key in _ELSEWHERE or key in _ROPE or key.startswith(_ELSEWHERE_PARTS):
        return True
    return "dropout" in key or key.endswith("_pdrop")


def _rope(
    part: str,
    one: Mapping[str, Any],
    two: Mapping[str, Any],
    base: Checkpoint,
    other: Checkpoint,
) -> list[str]:
    """Return how the rotary embeddings differ, in transformers' old form or its new one."""
    first, second = rope_settings(one), rope_settings(two)
    return [
        f"{part + '.' if part else ''}{key} is {_show(first[key])} in {base.folder} and "
        f"{_show(second[key])} in {other.folder}; the output has the first"
        for key in first.keys() & second.keys()
        if first[key] != second[key]
    ]


def rope_settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration's rotary settings in one form: theta, type, and the type's own.

    Up to transformers 4 they are `rope_theta` and `rope_scaling`, since 5 `rope_parameters`.
    """
    new = config.get("rope_parameters")
    found: dict[str, Any] = {}
    if config.get("rope_theta") is not None:
        found["rope_theta"] = config["rope_theta"]
    if isinstance(new, dict):
        return found | {"rope_type": "default"} | new
    if not found and "rope_scaling" not in config:
        return {}
    scaling = dict(config.get("rope_scaling") or {})
    kind = scaling.pop("type", None)
    return found | {"rope_type": scaling.pop("rope_type", kind) or "default"} | scaling


def _show(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
