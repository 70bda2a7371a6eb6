"""TIES: trim small entries, elect signs, average what agrees."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from pydantic import Field

from merge.methods.block import Block
from merge.methods.math.arithmetic import scaled
from merge.methods.math.sign_election import Election, elect_and_average
from merge.methods.method import Lambdas, Method, Outputs, Totals, Values
from merge.methods.parameters import Parameters
from merge.methods.registry import register

if TYPE_CHECKING:
    import torch

# A float32's bits without the sign order magnitudes as integers. The threshold of what is larger
# than a block is found in two counts: of the upper 16 bits, then of the lower 15 among those with
# the threshold's upper ones. Float64 deltas are ranked by their nearest float32, as mergekit's are.
_MAGNITUDE = 0x7FFFFFFF
_LOW_BITS = 15
_UPPER_BINS = 1 << 16
_LOWER_BINS = 1 << _LOW_BITS


class Trimming(Election):
    """How entries are trimmed, and elected."""

    whole_model: bool = Field(
        False, description="trim over the whole model, and not in each tensor"
    )


class TrimmedWeights(Parameters):
    """What each fine-tuned model may have of its own."""

    density: float = Field(ge=0.0, le=1.0, description="share of a delta's entries that are kept")
    weight: float = Field(1.0, description="weight of the model's delta")


@register
class Ties(Method):
    """`θ = θ_base + λ·mean of the agreeing trimmed deltas`, Yadav et al. 2023 (2306.01708).

    Of each delta, the `density` share of entries that are largest in magnitude is kept (rounded
    down, but at least one), entries equal to the smallest kept one included; in each tensor, or
    with `whole_model` over the whole model. For one fine-tuned model nothing is elected and its
    weight scales the delta, unless `normalize` is 1, which divides the weight out.
    """

    name = "ties"
    starts_at_base = True
    lambda_range = (float("-inf"), float("inf"))
    default_lambda = 1.0
    passes = 2
    parameters = Trimming
    model_parameters = TrimmedWeights

    def over_model(self, values: Values) -> bool:
        """Whether one threshold is shared by all tensors."""
        return bool(values["whole_model"])

    def pooled(self, values: Values) -> bool:
        """Whether magnitudes are counted over the whole model."""
        return self.over_model(values)

    def keeps_base(self, values: Values) -> bool:
        """A tensor without a delta has nothing to keep; over the model its zeros are counted."""
        return not self.over_model(values)

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Count magnitudes, `[models, bins]` int64, or return the thresholds, `[models]`.

        A tensor that is one block has its thresholds after the first pass; many small ones would
        else spend their time on bins that are empty.
        """
        import torch

        if block.is_whole and not self.over_model(values):
            return totals[0] if totals else _thresholds(block, values)
        counts = []
        for number, delta in enumerate(_deltas(block, values)):
            bits = _magnitudes(delta)
            upper = bits >> _LOW_BITS
            if not totals:
                counts.append(torch.bincount(upper, minlength=_UPPER_BINS))
                continue
            edge = int(totals[0][number, 0])
            lower = _where_equal(bits, upper, edge).bitwise_and_(_LOWER_BINS - 1)
            counts.append(torch.bincount(lower, minlength=_LOWER_BINS))
        return torch.stack(counts).cpu()

    def settle(self, totals: Mapping[str, Totals], values: Mapping[str, Values]) -> None:
        """Replace counts by `[models, 2]`: the threshold's bin, and how many of it to keep.

        After the second pass they are the thresholds, `[models]`.
        """
        import torch

        shared = any(self.over_model(each) for each in values.values())
        groups = [list(totals)] if shared else [[name] for name in totals]
        for names in groups:
            first, counts = totals[names[0]][0], totals[names[0]][-1]
            if counts.dim() == 1:
                continue
            if counts is first:
                densities = values[names[0]].each("density")
                elements = counts.sum(dim=1).tolist()
                wanted = [_kept(*each) for each in zip(densities, elements, strict=True)]
            else:
                wanted = first[:, 1].tolist()
            found = torch.tensor(
                [_find_bin(row, count) for row, count in zip(counts, wanted, strict=True)]
            )
            if counts is not first:
                found = (first[:, 0] << _LOW_BITS) + found[:, 0]
            for name in names:
                totals[name][-1] = found

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the merge at each λ."""
        weights = values.each("weight")
        kept = [
            _trim(delta, threshold)
            for delta, threshold in zip(_deltas(block, values), totals[-1].tolist(), strict=True)
        ]
        normalize = len(kept) > 1 if values["normalize"] is None else values["normalize"]
        delta = elect_and_average(kept, weights, normalize=normalize)
        for scale in lambdas:
            yield scaled(delta, scale).add_(block.base)


def _deltas(block: Block, values: Values) -> "list[torch.Tensor]":
    """Return each model's delta, kept from the first of the three passes if memory allows."""
    return [
        block.once(f"delta {number}", lambda number=number: block.deltas[number])  # type: ignore[misc]
        for number in range(len(values.models))
    ]


def _kept(density: float, elements: int) -> int:
    """Return how many of this many entries are kept, counted as mergekit does."""
    return max(1, int(density * elements)) if density > 0 else 0


def _magnitudes(delta: "torch.Tensor") -> "torch.Tensor":
    """Return integers that are ordered as the entries' magnitudes are, in memory of their own."""
    import torch

    return delta.to(torch.float32).view(torch.int32).bitwise_and(_MAGNITUDE)


def _thresholds(block: Block, values: Values) -> "torch.Tensor":
    """Return the magnitude of each delta's smallest kept entry, `[models]` int64."""
    import torch

    found = []
    for delta, density in zip(_deltas(block, values), values.each("density"), strict=True):
        bits, kept = _magnitudes(delta), _kept(density, len(delta))
        found.append(_kth_largest(bits, kept) if kept else _MAGNITUDE)
    return torch.tensor(found)


def _kth_largest(bits: "torch.Tensor", count: int) -> int:
    """Return the count-th largest; on a CPU by numpy, which is 20 times as fast."""
    place = len(bits) - count
    if bits.device.type != "cpu":
        return int(bits.kthvalue(place + 1).values)
    ordered = bits.numpy()
    ordered.partition(place)
    return int(ordered[place])


def _where_equal(bits: "torch.Tensor", upper: "torch.Tensor", edge: int) -> "torch.Tensor":
    """Return the bits whose upper part is the edge's; on a CPU by numpy, twice as fast."""
    import torch

    if bits.device.type != "cpu":
        return bits[upper == edge]
    return torch.from_numpy(bits.numpy()[upper.numpy() == edge])


def _find_bin(counts: "torch.Tensor", wanted: int) -> tuple[int, int]:
    """Return the bin that holds the wanted-th largest value, and how many of the bin are wanted.

    With none wanted, that is a bin beyond the last.
    """
    if wanted <= 0:
        return len(counts), 0
    from_top = counts.flip(0).cumsum(0)
    position = int((from_top < wanted).sum())
    above = int(from_top[position - 1]) if position else 0
    return len(counts) - 1 - position, wanted - above


def _trim(delta: "torch.Tensor", threshold: int) -> "torch.Tensor":
    """Return the delta with zeros where its magnitude's bits are below the threshold."""
    import torch

    # Not beyond what int32 holds.
    threshold = min(threshold, _MAGNITUDE)
    if delta.dtype == torch.float64:
        return torch.where(_magnitudes(delta) >= threshold, delta, 0.0)
    bits = delta.view(torch.int32)
    # Not below 1: an entry that is zero is never a kept one.
    threshold = max(threshold, 1)
    below = bits.bitwise_and(_MAGNITUDE).sub_(threshold).bitwise_right_shift_(31)
    return below.bitwise_not_().bitwise_and_(bits).view(torch.float32)
