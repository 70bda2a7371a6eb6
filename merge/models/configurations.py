"""Whether two models' configurations mean the same function, given the same weights.

The output has the base's configuration. Where another input's gives the same weights another
meaning (another number of heads, another norm), the merge is refused; where it changes the range or
the use of the model only, the user is told.
"""

from collections.abc import Mapping
from typing import Any

from merge.models.checkpoint import Checkpoint

# What the same tensors compute depends on these, and their shapes do not tell.
_FUNCTION = frozenset(
    {
        "activation_function",
        "alibi",
        "attention_multiplier",
        "attn_logit_softcapping",
        "embedding_multiplier",
        "experts_per_token",
        "feed_forward_proj",
        "final_logit_softcapping",
        "head_dim",
        "hidden_act",
        "hidden_activation",
        "layer_norm_eps",
        "layer_norm_epsilon",
        "layernorm_epsilon",
        "logit_scale",
        "logits_scaling",
        "mlp_hidden_act",
        "model_type",
        "n_group",
        "n_head",
        "norm_eps",
        "norm_epsilon",
        "norm_topk_prob",
        "num_attention_heads",
        "num_experts_per_tok",
        "num_key_value_heads",
        "parallel_attn",
        "qk_nope_head_dim",
        "qk_rope_head_dim",
        "query_pre_attn_scalar",
        "residual_multiplier",
        "rms_norm_eps",
        "rotary_dim",
        "rotary_pct",
        "routed_scaling_factor",
        "scale_attn_weights",
        "scale_depth",
        "scale_emb",
        "scoring_func",
        "state_size",
        "topk_group",
        "topk_method",
        "use_parallel_residual",
        "use_qk_norm",
        "v_head_dim",
    }
)
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


def compare(base: Checkpoint, other: Checkpoint) -> tuple[list[str], list[str]]:
    """Return what makes two configurations different functions, and what should be known."""
    problems: list[str] = []
    notes: list[str] = []
    for part in ("", *_PARTS):
        one, two = (_part(each.config, part) for each in (base, other))
        for key in one.keys() & two.keys():
            if key in _PARTS or _is_elsewhere(key) or one[key] == two[key]:
                continue
            told = f"{part + '.' if part else ''}{key} is {_show(one[key])} in {base.folder}"
            if key in _FUNCTION:
                problems.append(
                    f"{told} and {_show(two[key])} in {other.folder}, so the same weights compute "
                    f"different things; give the model that was tuned from this base"
                )
            else:
                notes.append(
                    f"{told} and {_show(two[key])} in {other.folder}; the output has the first"
                )
        notes += _rope(part, one, two, base, other)
    return sorted(problems), sorted(notes)


def _part(config: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    found = config.get(part) if part else config
    return found if isinstance(found, dict) else {}


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
