"""What a merge method is: the inputs and parameters it declares, and a formula on one block."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar

from merge.lora.updates import LowRank
from merge.methods.block import Block
from merge.methods.parameters import Parameters
from merge.methods.roles import UNALIGNED, Role

if TYPE_CHECKING:
    import torch


# λ of each output; `(1.0,)` for a method without λ.
Lambdas = Sequence[float]
# The sums over one tensor, one for each finished pass.
Totals = list["torch.Tensor"]
# A block of each output in turn.
Outputs = Iterator["torch.Tensor"]


class Granularity(Enum):
    """How much of a tensor a method sees at once, which decides how much memory it takes.

    ``BLOCKS`` are of one size, whatever the tensor's. ``ROWS`` are the fewest whole rows (runs of
    the last dimension) that are whole blocks too; with rows of a power of two, one block. With
    ``TENSORS`` a thread holds one tensor of every input, and all threads together no more than 32
    million elements of each or the one largest tensor.
    """

    BLOCKS = "blocks"
    ROWS = "rows"
    TENSORS = "tensors"


@dataclass(frozen=True)
class Values:
    """The parameters of one tensor: the method's own, and each fine-tuned model's."""

    common: Parameters
    models: Sequence[Parameters]

    def __getitem__(self, name: str) -> Any:
        return getattr(self.common, name)

    def each(self, name: str) -> list[Any]:
        """Return a per-model parameter's value for every fine-tuned model."""
        return [getattr(model, name) for model in self.models]


@dataclass(frozen=True)
class Coefficients:
    """A result as a sum of updates: `θ_base + Σ tunedᵢ·δᵢ + Σ rolesⱼ·δⱼ`."""

    tuned: Sequence[float]
    roles: Mapping[str, float] = field(default_factory=dict)


class Method:
    """One way to merge. Subclasses are made known by `merge.methods.register`.

    Attributes:
        name: as on the command line.
        base: whether a base model is needed.
        tuned: the fewest and the most fine-tuned models; None for no limit.
        roles: what else it takes, such as `SAFETY_VECTOR` of `merge.methods.roles`.
        needs_adapter: whether the fine-tuned model has to be a LoRA adapter.
        takes_lambda: whether λ applies; several λ then come out of one pass.
        starts_at_base: whether λ = 0 is the base, which then keeps its own bits.
        lambda_range: the least and the greatest λ.
        default_lambda: λ when none is given; None if it has to be.
        parameters: what else it takes.
        model_parameters: what else it takes for each fine-tuned model, or once for all of them.
        passes: how often the inputs are measured before they are merged.
        granularity: how much of a tensor a block holds.
        file: the name and SHA-256 of the user's file that it was read from, if it was.
    """

    name: ClassVar[str]
    base: ClassVar[bool] = True
    tuned: ClassVar[tuple[int, int | None]] = (1, None)
    roles: ClassVar[tuple[Role, ...]] = ()
    needs_adapter: ClassVar[bool] = False
    takes_lambda: ClassVar[bool] = True
    starts_at_base: ClassVar[bool] = False
    lambda_range: ClassVar[tuple[float, float]] = (0.0, 1.0)
    default_lambda: ClassVar[float | None] = None
    parameters: ClassVar[type[Parameters]] = Parameters
    model_parameters: ClassVar[type[Parameters]] = Parameters
    passes: ClassVar[int] = 0
    granularity: ClassVar[Granularity] = Granularity.BLOCKS
    file: ClassVar[tuple[str, str] | None] = None

    @property
    def safety_vector(self) -> bool:
        """Whether it takes the ends of a safety vector."""
        return UNALIGNED in self.roles

    def check(self, tuned: int, values: Values) -> str | None:
        """Return what is wrong with the values for this many fine-tuned models, if anything."""
        del tuned, values
        return None

    def over_model(self, values: Values) -> bool:
        """Whether all tensors are measured before the first is merged."""
        del values
        return False

    def pooled(self, values: Values) -> bool:
        """Whether a pass's sum, of whole numbers then, is one over all tensors measured together.

        Else each has its own, which takes memory for every tensor of a model if `over_model`.
        """
        del values
        return False

    def measure(self, block: Block, values: Values, totals: Totals) -> "torch.Tensor":
        """Return this block's part of a sum over the tensor, in float64, of any fixed shape.

        Called once per block in each of the ``passes``; ``totals`` holds the sums of the passes
        before. The engine adds the parts in the order of the blocks, whatever thread made them
        (whole numbers that are `pooled`, in any order).
        """
        raise NotImplementedError(f"{type(self).__name__} declares passes but measures nothing")

    def settle(self, totals: Mapping[str, Totals], values: Mapping[str, Values]) -> None:
        """Turn the sums of a finished pass into what the next one, or merging, needs.

        Called after each pass with the totals of every tensor that was measured together: one, or
        all of them if `over_model`. The last entry of each list is the pass's, the same for all
        tensors if `pooled`.
        """
        del totals, values

    def merge(self, block: Block, values: Values, lambdas: Lambdas, totals: Totals) -> Outputs:
        """Yield the merged block, flat and in the inputs' type, once for each λ.

        A method without λ gets `(1.0,)` and yields once. What it yields may be overwritten as soon
        as the next one is asked for.
        """
        raise NotImplementedError

    def report(self, values: Values, totals: Totals) -> str | None:
        """Return what happened to this tensor that users should be able to count, if anything."""
        del values, totals
        return None

    def coefficients(self, values: Values, scale: float) -> Coefficients | None:
        """Return the result at λ = `scale` as a sum of updates, or None if it is none.

        Methods that are such sums can be written as adapters.
        """
        del values, scale
        return None

    def keeps_base(self, values: Values) -> bool:
        """Whether a tensor of which every delta is zero comes out as the base's.

        Such tensors are copied and not measured, so they must not count in a `report` or for other
        tensors. Without passes the same holds of blocks.
        """
        return self.coefficients(values, 1.0) is not None

    def transform(self, update: LowRank, totals: Totals) -> LowRank:
        """Return what a method makes of one update before it is summed up in an adapter."""
        del totals
        return update
