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

# A float32's bits without the sign order magnitudes as integers. The threshold is found in two
# counts: of the upper 16 bits, then of the lower 15 among those with the threshold's upper ones.
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

    Of each delta, the `density` share of entries that are largest in magnitude is kept, entries
    equal to the smallest kept one included; in each tensor, or with `whole_model` over the whole
    model. For one fine-tuned model nothing is elected and its weight scales the delta, unless
    `normalize` is 1, which divides the weight out.
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

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Count magnitudes, `[models, bins]` int64."""
        import torch

        counts = []
        for number, delta in enumerate(_deltas(block, values)):
            bits = delta.view(torch.int32).bitwise_and(_MAGNITUDE)
            upper = bits >> _LOW_BITS
            if not totals:
                counts.append(torch.bincount(upper, minlength=_UPPER_BINS))
                continue
            edge = int(totals[0][number, 0])
            lower = _where_equal(bits, upper, edge).bitwise_and_(_LOWER_BINS - 1)
            counts.append(torch.bincount(lower, minlength=_LOWER_BINS))
        return torch.stack(counts).cpu()

    def settle(self, totals: Mapping[str, Totals], values: Mapping[str, Values]) -> None:
        """Replace counts by `[models, 2]`: the threshold's bin, and how many of it to keep."""
        import torch

        shared = any(self.over_model(each) for each in values.values())
        groups = [list(totals)] if shared else [[name] for name in totals]
        for names in groups:
            counts = totals[names[0]][-1]
            if len(totals[names[0]]) == 1:
                densities = values[names[0]].each("density")
                elements = counts.sum(dim=1).tolist()
                wanted = [round(d * count) for d, count in zip(densities, elements, strict=True)]
            else:
                wanted = totals[names[0]][0][:, 1].tolist()
            found = torch.tensor(
                [_find_bin(row, count) for row, count in zip(counts, wanted, strict=True)]
            )
            for name in names:
                totals[name][-1] = found

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the merge at each λ."""
        weights = values.each("weight")
        kept = [
            _trim(delta, (int(upper) << _LOW_BITS) + int(lower))
            for delta, upper, lower in zip(
                _deltas(block, values), totals[0][:, 0], totals[1][:, 0], strict=True
            )
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

    bits = delta.view(torch.int32)
    # Not below 1: an entry that is zero is never a kept one. Not beyond what int32 holds.
    threshold = min(max(threshold, 1), _MAGNITUDE)
    below = bits.bitwise_and(_MAGNITUDE).sub_(threshold).bitwise_right_shift_(31)
    return below.bitwise_not_().bitwise_and_(bits).view(torch.float32)
