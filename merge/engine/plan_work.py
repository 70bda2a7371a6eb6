"""One plan's part of a pass: what it measures, merges and writes of every block."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from merge.engine.blocks import Task
from merge.engine.fp8_output import quantise_rows
from merge.engine.options import Options
from merge.engine.outputs import BlockWriter, Outputs, Progress
from merge.engine.pass_cache import PassCache
from merge.engine.plan import Plan, TensorPlan
from merge.engine.rounding_loss import RoundingLoss, RoundingSample
from merge.engine.threads import OrderedSum, WholeSum
from merge.errors import MergeError
from merge.formats.dtypes import torch_dtype
from merge.formats.finite_values import all_finite
from merge.formats.stored_tensor import StoredTensor
from merge.methods.block import Block
from merge.methods.method import Granularity, Values
from merge.models.block_reads import RawBlock, Reads

if TYPE_CHECKING:
    import torch

# The digests of input blocks that were read, by tensor and first element.
Digests = dict[StoredTensor, dict[int, bytes]]


@dataclass
class Result:
    """What a run computed for one plan besides the files.

    Attributes:
        checksums: for each output, every tensor's checksum.
        input_digests: of all inputs of the run.
        report: how often each thing worth counting happened.
        different_copies: integer and boolean tensors that are not the same in all inputs.
        rounding: for each output, what its type rounded away.
        notes: what the user should know of the result.
    """

    checksums: list[dict[str, str]]
    input_digests: Digests
    report: Counter[str] = field(default_factory=Counter)
    different_copies: set[str] = field(default_factory=set)
    rounding: list[RoundingLoss] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class PlanWork:
    """One plan's part of the work on every block."""

    def __init__(
        self,
        plan: Plan,
        writers: Sequence[BlockWriter],
        options: Options,
        progress: Progress,
        result: Result,
        kept: PassCache | None,
    ) -> None:
        self.plan = plan
        self.result = result
        self.totals: dict[str, list[torch.Tensor]] = {}
        self.outputs = Outputs(plan, writers, options, progress)
        self._options = options
        self._kept = kept
        self._rounding = RoundingSample(plan, options)
        self._sums: dict[str, OrderedSum] | dict[str, WholeSum] = {}
        # By the identity of a tensor's values, which many tensors share.
        self._sums_updates: dict[int, bool] = {}
        self._keeps_base: dict[int, bool] = {}

    def begin_pass(self, numbers: Sequence[int], *, first: bool) -> None:
        """Make room for the sums of a pass over some tensors."""
        tensors = self._merged(numbers)
        if first:
            self.totals = {tensor.name: [] for tensor in tensors}
        names = list(self.totals)
        method = self.plan.method
        if any(method.pooled(tensor.values) for tensor in tensors):
            self._sums = dict.fromkeys(names, WholeSum())
        else:
            self._sums = {name: OrderedSum() for name in names}

    def measure(self, task: Task, reads: Reads) -> None:
        """Add one block to its tensor's sum."""
        tensor = self.plan.tensors[task.number]
        if not tensor.merged:
            return
        block = self._block(tensor, reads)
        part = self.plan.method.measure(block, tensor.values, self.totals[tensor.name])
        self._sums[tensor.name].add(task.index, part)
        if task.stop == tensor.elements:
            # Over a whole model all adapters' parts would be kept at once.
            self.forget_updates(task)

    def end_pass(self, numbers: Sequence[int]) -> None:
        """Let the method draw its conclusions from the sums."""
        for name, total in self._sums.items():
            self.totals[name].append(total.value())
        values = {tensor.name: tensor.values for tensor in self._merged(numbers)}
        self.plan.method.settle(self.totals, values)

    def _merged(self, numbers: Sequence[int]) -> list[TensorPlan]:
        return [each for number in numbers if (each := self.plan.tensors[number]).merged]

    def count(self, numbers: Sequence[int]) -> None:
        """Count what happened to the tensors that were measured."""
        for tensor in (self.plan.tensors[number] for number in numbers):
            totals = self.totals.get(tensor.name)
            if totals and (note := self.plan.method.report(tensor.values, totals)):
                self.result.report[note] += 1

    def shows_nonfinite(self, task: Task) -> bool:
        """Return whether NaN or infinity in any input is sure to be one in the result.

        A sum has it, whatever the weights: 0 times either is NaN.
        """
        tensor = self.plan.tensors[task.number]
        # At 1 the fine-tuned model itself may come out, whatever the base's numbers are.
        return any(each != 1 for each in tensor.lambdas) and self._asked(
            self._sums_updates, tensor.values, self._is_sum
        )

    def _is_sum(self, values: Values) -> bool:
        method = self.plan.method
        return not method.passes and method.coefficients(values, 1.0) is not None

    def _asked(self, known: dict[int, bool], values: Values, ask: Callable[[Values], bool]) -> bool:
        if id(values) not in known:
            known[id(values)] = ask(values)
        return known[id(values)]

    def merge(self, task: Task, reads: Reads) -> None:
        """Compute and write one block of every λ, or copy it."""
        tensor = self.plan.tensors[task.number]
        if not tensor.merged or self._equals_base(tensor, reads):
            self._copy(task, tensor, reads)
            return
        block = self._block(tensor, reads)
        totals = self.totals.get(tensor.name, [])
        outputs = self.plan.method.merge(block, tensor.values, tensor.lambdas, totals)
        exact = self._base_bits(tensor, reads)
        for number, values in enumerate(outputs):
            if exact is None or tensor.lambdas[number] != 0:
                self._rounding.compare(task, number, values, reads)
                data = self._stored(task, tensor, number, reads, values)
                self.outputs.write(task, tensor, number, data)
                continue
            self.outputs.write_raw(task, tensor, number, exact)
            if reads.check_later:
                self._check(tensor, reads, values)

    def _equals_base(self, tensor: TensorPlan, reads: Reads) -> bool:
        """Return whether every input has the base's own bytes in a block, and so the result."""
        import torch

        base, tuned = tensor.operands.base, tensor.operands.tuned
        if base is None or tensor.scaled:
            return False
        if not self._asked(self._keeps_base, tensor.values, self._copies_blocks):
            return False
        if any(each.adapter or each.stored.dtype != base.stored.dtype for each in (base, *tuned)):
            return False
        if any(each.stored.shape != tensor.shape for each in (base, *tuned)):
            return False
        own, *others = (reads.raw(each.stored) for each in (base, *tuned))
        return all(other.digests == own.digests for other in others) and all(
            torch.equal(other.values.view(torch.uint8), own.values.view(torch.uint8))
            for other in others
        )

    def _copies_blocks(self, values: Values) -> bool:
        method = self.plan.method
        if method.passes or method.granularity is not Granularity.BLOCKS:
            return False
        sum_ = method.coefficients(values, 1.0)
        return method.keeps_base(values) and (sum_ is None or not any(sum_.roles.values()))

    def finished(self) -> Result:
        """Return the result, every tensor's checksum in it."""
        self.result.checksums = self.outputs.finished()
        self.result.rounding = self._rounding.losses
        if note := self._rounding.note():
            self.result.notes.append(note)
        return self.result

    def forget_updates(self, task: Task) -> None:
        """Let go of the adapters' parts of a tensor."""
        for operand in self.plan.tensors[task.number].operands.all():
            operand.forget()

    def forget_kept(self) -> None:
        """Let go of what was kept between passes."""
        if self._kept:
            self._kept.clear()

    def _block(self, tensor: TensorPlan, reads: Reads) -> Block:
        keep = self._kept.get if self._kept else None
        return Block(
            tensor.name,
            tensor.operands,
            reads,
            seed=self.plan.recipe.seed,
            elements=tensor.elements,
            keep=keep,
        )

    def _stored(
        self, task: Task, tensor: TensorPlan, number: int, reads: Reads, values: "torch.Tensor"
    ) -> memoryview:
        """Return a block's bytes as the output has them; of codes the scales are kept for later.

        Raises:
            MergeError: they are not finite, or no longer.
        """
        import torch

        if not tensor.scaled:
            return self._rounded(tensor, reads, values)
        codes, scales = quantise_rows(values.to("cpu"), tensor.shape[1])
        self._check(tensor, reads, scales)
        self.outputs.keep_scales(task, tensor, number, scales)
        return codes.view(torch.uint8).numpy().data

    def _rounded(self, tensor: TensorPlan, reads: Reads, values: "torch.Tensor") -> memoryview:
        """Return values as the output stores them.

        Raises:
            MergeError: they are not finite, or no longer.
        """
        import torch

        output = values.to("cpu").to(torch_dtype(tensor.dtype))
        self._check(tensor, reads, output)
        return output.contiguous().view(torch.uint8).numpy().data

    def _check(self, tensor: TensorPlan, reads: Reads, output: "torch.Tensor") -> None:
        """Check that what was computed is finite; where it is not, an input may not be either."""
        if self._options.allow_nonfinite or all_finite(output):
            return
        reads.check()
        raise MergeError(
            f"Merging gives NaN or infinity in {tensor.name} as {tensor.dtype}; "
            f"write a wider --dtype such as bfloat16 or float32."
        )

    def _copy(self, task: Task, tensor: TensorPlan, reads: Reads) -> None:
        base, *more = tensor.operands.all()
        raw = reads.raw(base.stored)
        if tensor.copied and any(reads.raw(each.stored).digests != raw.digests for each in more):
            self.result.different_copies.add(tensor.name)
        if not tensor.copied:
            reads.check_finite(base.stored, raw.values)
        if base.stored.dtype == tensor.dtype:
            for number in range(self.plan.outputs):
                self.outputs.write_raw(task, tensor, number, raw)
            return
        data = self._rounded(tensor, reads, reads.weight(base))
        for number in range(self.plan.outputs):
            self.outputs.write(task, tensor, number, data)

    def _base_bits(self, tensor: TensorPlan, reads: Reads) -> RawBlock | None:
        """Return the base's bytes where λ = 0 is it; adding 0 would lose the sign of another."""
        base = tensor.operands.base
        if not self.plan.method.starts_at_base or 0 not in tensor.lambdas or base is None:
            return None
        if base.stored.dtype != tensor.dtype or base.adapter or base.stored.shape != tensor.shape:
            return None
        return reads.raw(base.stored)
