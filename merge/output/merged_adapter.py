"""Merged LoRA adapters: a few megabytes instead of a checkpoint, where that is exact.

`base + λ·(tuned - base)` is `base + λ·s·B·A`: the same adapter with B scaled. A sum of several
updates is one update of their summed rank, `[c₁s₁B₁ | c₂s₂B₂]·[A₁; A₂]`. Scales go into B, every
module gets the same rank (padded with zeros) and alpha equals it, so that peft and vLLM, which
ignores per-module patterns, compute the same.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

from merge.engine.plan import Plan, TensorPlan
from merge.errors import MergeError
from merge.formats.checksums import block_ranges, combine, digest
from merge.formats.dtypes import ITEM_SIZE, torch_dtype
from merge.formats.safetensors import build_header
from merge.formats.stored_tensor import StoredTensor
from merge.lora.adapter import ADAPTER_FILE, Adapter, load
from merge.lora.adapter_config import ADAPTER_CONFIG
from merge.lora.adapter_keys import PREFIX, saved_key
from merge.lora.updates import LowRank
from merge.methods.method import Coefficients
from merge.models.input_models import InputModel
from merge.output.manifest import tensor_entries
from merge.output.merged_experts import MergedExperts, module_key
from merge.output.shard_files import Shard, ShardWriter

if TYPE_CHECKING:
    import torch

# By tensor, what the method's passes measured.
Totals = Mapping[str, "list[torch.Tensor]"]


def check_adapters(plan: Plan) -> None:
    """Check that a merge's result is an adapter on the base.

    Raises:
        MergeError: the method's result has no low rank, or an input is no adapter on the base.
    """
    tensor = plan.tensors[0]
    coefficients = plan.method.coefficients(tensor.values, 1.0)
    if coefficients is None:
        raise MergeError(
            f"The result of {plan.method.name} with these parameters is no LoRA adapter; remove "
            f"--as adapter to write a checkpoint."
        )
    for model, _ in _weighted(plan, coefficients):
        if model.checkpoint is not plan.inputs.main.checkpoint:
            raise MergeError(
                f"{model.reference} is not an adapter on {plan.inputs.main.reference}; --as "
                f"adapter needs every input to be one."
            )
    if any(tensor.shape != _base(tensor).shape for tensor in plan.tensors):
        raise MergeError(
            "--as adapter keeps the base's vocabulary, and this merge has other rows; use "
            "--vocabulary base or remove --as adapter to write a checkpoint."
        )
    if dora := [adapter for adapter in _adapters(plan) if adapter.magnitudes]:
        raise MergeError(
            f"{dora[0].folder} is DoRA, whose update is not of low rank; remove --as adapter to "
            f"write a checkpoint."
        )
    _check_experts(_adapters(plan))
    transposed = {adapter.config.fan_in_fan_out for adapter in _adapters(plan)}
    if len(transposed) != 1:
        raise MergeError(
            "--as adapter needs adapters with the same fan_in_fan_out, and at least one of them."
        )
    for name, model in plan.inputs.roles.items():
        if model.difference and any(coefficients.roles.values()):
            raise MergeError(
                f"--as adapter needs every input as an adapter; a saved --{name} is none."
            )


def _check_experts(adapters: Sequence[Adapter]) -> None:
    """Check that experts' parameters have the same keys, which follow from all that are targets."""
    having = [adapter for adapter in adapters if adapter.experts]
    for adapter in having[1:]:
        own, first = (sorted(set(each.config.target_parameters)) for each in (adapter, having[0]))
        if own != first:
            raise MergeError(
                f"{adapter.folder} has the target_parameters {', '.join(own)} and "
                f"{having[0].folder} has {', '.join(first)}, and one adapter holds one list of "
                f"them; remove --as adapter to write a checkpoint."
            )
    biased = [adapter for adapter in adapters if adapter.config.raw.get("lora_bias")]
    if having and biased:
        raise MergeError(
            f"{biased[0].folder} has lora_bias and {having[0].folder} target_parameters, which "
            f"peft does not read from one adapter; remove --as adapter to write a checkpoint."
        )


def write_adapter(
    plan: Plan, number: int, totals: Totals, folder: Path, block_elements: int
) -> dict[str, Any]:
    """Write one output's adapter file and configuration.

    Args:
        plan: what to compute.
        number: which of the plan's λ.
        totals: what the method measured.
        folder: where to.
        block_elements: of the blocks that checksums are over.

    Returns:
        The manifest's entries for its tensors.
    """
    tensors, rank = _Builder(plan, number, totals).build()
    header, entries = build_header(
        {name: (dtype, tuple(values.shape)) for name, (dtype, values) in tensors.items()}
    )
    shards = [Shard(ADAPTER_FILE, header, entries)]
    writer = ShardWriter(folder, shards)
    try:
        checksums = {
            name: _write(writer, name, dtype, values, block_elements)
            for name, (dtype, values) in tensors.items()
        }
    finally:
        writer.close()
    config = _config(plan, rank)
    (folder / ADAPTER_CONFIG).write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    return tensor_entries(checksums, shards)


class _Builder:
    """Collects the tensors of one merged adapter, by peft's names, with their type names."""

    def __init__(self, plan: Plan, number: int, totals: Totals) -> None:
        self._plan = plan
        self._number = number
        self._totals = totals
        self._tensors: dict[str, tuple[str, torch.Tensor]] = {}
        # By peft's key for a parameter's factors.
        self._experts: dict[str, MergedExperts] = {}

    def build(self) -> "tuple[dict[str, tuple[str, torch.Tensor]], int]":
        """Return the tensors, and the rank that all factors have."""
        factors: dict[str, tuple[str, LowRank]] = {}
        for tensor in self._plan.tensors:
            parts = self._parts(tensor)
            if any(tensor.name in adapter.factors for _, adapter in parts):
                factors[tensor.name] = self._low_rank(tensor, parts)
            self._sum(tensor, parts, lambda adapter: adapter.replaced, self._replaced)
            self._sum(tensor, parts, lambda adapter: adapter.bias_updates, self._bias)
            self._tokens(tensor, parts)
            self._add_experts(tensor, parts)
        ranks = [update.left.shape[1] for _, update in factors.values()]
        ranks += [merged.rank for merged in self._experts.values()]
        rank = max(ranks, default=_adapters(self._plan)[0].config.rank)
        for name, (dtype, update) in factors.items():
            self._add_factors(name, dtype, update, rank)
        for module, merged in self._experts.items():
            a, b = merged.joined(rank)
            self._tensors[f"{module}.lora_A.weight"] = (merged.dtype, a)
            self._tensors[f"{module}.lora_B.weight"] = (merged.dtype, b)
        return self._tensors, rank

    def _parts(self, tensor: TensorPlan) -> list[tuple[float, Adapter]]:
        scale = tensor.lambdas[self._number]
        coefficients = self._plan.method.coefficients(tensor.values, scale)
        assert coefficients is not None, "check_adapters refuses such methods"
        return [
            (factor, model.adapter)
            for model, factor in _weighted(self._plan, coefficients)
            if model.adapter is not None
        ]

    def _low_rank(
        self, tensor: TensorPlan, parts: Sequence[tuple[float, Adapter]]
    ) -> tuple[str, LowRank]:
        """Return the summed update, its scale in `left`, and the type B was stored in."""
        import torch

        lefts, rights, dtype = [], [], ""
        for factor, adapter in parts:
            if tensor.name not in adapter.factors:
                continue
            update = adapter.low_rank(tensor.name, tensor.work_dtype)
            update = self._plan.method.transform(update, self._totals.get(tensor.name, []))
            lefts.append(update.left * (update.scale * factor))
            rights.append(update.right)
            dtype = dtype or adapter.factors[tensor.name][1].dtype
        if len(lefts) == 1:
            return dtype, LowRank(lefts[0], rights[0], 1.0)
        return dtype, LowRank(torch.cat(lefts, dim=1), torch.cat(rights, dim=0), 1.0)

    def _add_factors(self, name: str, dtype: str, update: LowRank, rank: int) -> None:
        from torch.nn.functional import pad

        adapters = _adapters(self._plan)
        adapter = next(each for each in adapters if name in each.factors)
        a, _, transposed = adapter.factors[name]
        missing = rank - update.left.shape[1]
        left, right = update.left, update.right
        if missing:
            left, right = pad(left, (0, missing)), pad(right, (0, 0, 0, missing))
        if transposed:
            left, right = right.T.contiguous(), left.T.contiguous()
        module = adapter.trained_as.get(name, name).removesuffix(".weight")
        names = ("lora_A.weight", "lora_B.weight")
        if "lora_embedding" in a.name:
            names = ("lora_embedding_A", "lora_embedding_B")
        self._tensors[f"{PREFIX}{module}.{names[0]}"] = (dtype, right)
        self._tensors[f"{PREFIX}{module}.{names[1]}"] = (dtype, left)

    def _add_experts(self, tensor: TensorPlan, parts: Sequence[tuple[float, Adapter]]) -> None:
        totals = self._totals.get(tensor.name, [])
        for number, (share, adapter) in enumerate(parts):
            if (factors := adapter.experts.get(tensor.name)) is None:
                continue
            merged = self._experts.setdefault(
                module_key(factors), MergedExperts(factors.experts, factors.b.dtype)
            )
            merged.add(number, factors, share, lambda own: self._plan.method.transform(own, totals))

    def _sum(
        self,
        tensor: TensorPlan,
        parts: Sequence[tuple[float, Adapter]],
        held: Callable[[Adapter], Mapping[str, StoredTensor]],
        values: "Callable[[float, StoredTensor, TensorPlan, Adapter], torch.Tensor]",
    ) -> None:
        """Add up what some adapters hold for one tensor of the base."""
        having = [(factor, a) for factor, a in parts if tensor.name in held(a)]
        if not having:
            return
        stored = [held(adapter)[tensor.name] for _, adapter in having]
        total = sum(
            values(factor, source, tensor, adapter)
            for (factor, adapter), source in zip(having, stored, strict=True)
        )
        assert not isinstance(total, int)
        if values == self._replaced:
            total = total + load(_base(tensor))
        trained = having[0][1].trained_as.get(tensor.name, tensor.name)
        key = f"{PREFIX}{trained.removesuffix('.bias')}.lora_B.bias"
        if values == self._replaced:
            key = saved_key(stored[0].name)
        self._tensors[key] = (stored[0].dtype, total)

    def _replaced(
        self, factor: float, stored: StoredTensor, tensor: TensorPlan, adapter: Adapter
    ) -> "torch.Tensor":
        del adapter
        return (load(stored) - load(_base(tensor))) * factor

    def _bias(
        self, factor: float, stored: StoredTensor, tensor: TensorPlan, adapter: Adapter
    ) -> "torch.Tensor":
        return load(stored) * (factor * adapter.bias_scale(tensor.name))

    def _tokens(self, tensor: TensorPlan, parts: Sequence[tuple[float, Adapter]]) -> None:
        having = [
            (factor, a.tokens[tensor.name], a) for factor, a in parts if tensor.name in a.tokens
        ]
        if not having:
            return
        indices = having[0][1].indices
        if any(tokens.indices != indices for _, tokens, _ in having):
            raise MergeError(
                f"The adapters train different tokens of {tensor.name}; remove --as adapter to "
                f"write a checkpoint."
            )
        base = _base(tensor)
        deltas = [
            adapter.token_rows(tokens, base).rows * factor for factor, tokens, adapter in having
        ]
        rows = sum(deltas[1:], start=deltas[0]) + load(having[0][1].rows)
        rows -= having[0][2].token_rows(having[0][1], base).rows
        adapter = having[0][2]
        module = adapter.trained_as.get(tensor.name, tensor.name).removesuffix(".weight")
        key = f"{PREFIX}{module}.token_adapter.trainable_tokens_delta"
        self._tensors[key] = (having[0][1].rows.dtype, rows)


def _weighted(plan: Plan, coefficients: Coefficients) -> list[tuple[InputModel, float]]:
    """Return the models that take part, each with its factor."""
    found = list(zip(plan.inputs.tuned, coefficients.tuned, strict=True))
    for name, factor in coefficients.roles.items():
        model = plan.inputs.roles.get(name)
        # The base in another role is its own difference to itself.
        if model is not None and factor and model is not plan.inputs.main:
            found.append((model, factor))
    return found


def _adapters(plan: Plan) -> list[Adapter]:
    """Return the adapters that take part."""
    coefficients = plan.method.coefficients(plan.tensors[0].values, 1.0)
    assert coefficients is not None, "check_adapters refuses such methods"
    models = [model for model, _ in _weighted(plan, coefficients)]
    return [model.adapter for model in models if model.adapter is not None]


def _base(tensor: TensorPlan) -> StoredTensor:
    assert tensor.operands.base is not None
    return tensor.operands.base.stored


def _write(
    writer: ShardWriter, name: str, dtype: str, values: "torch.Tensor", block_elements: int
) -> str:
    import torch

    stored = values.to(torch_dtype(dtype)).contiguous().reshape(-1)
    data = stored.view(torch.uint8).numpy().data
    writer.write(name, 0, data)
    size = ITEM_SIZE[dtype]
    return combine(
        digest(data[start * size : stop * size])
        for start, stop in block_ranges(values.numel(), block_elements)
    )


def _config(plan: Plan, rank: int) -> dict[str, Any]:
    adapters = _adapters(plan)
    config: dict[str, Any] = deepcopy(dict(adapters[0].config.raw))
    config |= {
        "base_model_name_or_path": str(plan.inputs.main.reference),
        "inference_mode": True,
        "init_lora_weights": True,
        "r": rank,
        "lora_alpha": rank,
        "use_rslora": False,
        "rank_pattern": {},
        "alpha_pattern": {},
    }
    if len(adapters) > 1:
        config["target_modules"] = _targets(adapters)
        saved = {name for a in adapters for name in a.config.raw.get("modules_to_save") or []}
        config["modules_to_save"] = sorted(saved) or None
        config["layers_to_transform"] = config["layers_pattern"] = None
    if experts := [adapter for adapter in adapters if adapter.experts]:
        config["target_parameters"] = experts[0].config.target_parameters
        # peft has none for parameters, and another adapter may have had one.
        config["lora_dropout"] = 0.0
    return config


def _targets(adapters: Sequence[Adapter]) -> list[str]:
    """Return the modules any of the adapters updates, by full name if their lists do not say."""
    listed = [adapter.config.raw.get("target_modules") for adapter in adapters]
    partial = any(adapter.config.raw.get("layers_to_transform") for adapter in adapters)
    if not partial and all(isinstance(names, list) for names in listed):
        return sorted({str(name) for names in listed for name in names or []})
    return sorted({name.removesuffix(".weight") for a in adapters for name in a.factors})
