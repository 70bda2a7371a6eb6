"""How much of a merge its output's type rounds away.

A fine-tune at a small learning rate moves many bfloat16 entries by their last bit only. There is no
value between the base's and the tuned one, so whatever λ asks for, such an entry comes out as one
of the two.
"""

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

from merge.engine.blocks import Task
from merge.engine.options import Options
from merge.engine.plan import Plan, TensorPlan
from merge.formats.checksums import block_ranges
from merge.formats.dtypes import config_name, torch_dtype
from merge.models.block_reads import Reads
from merge.recipe.recipe import shown_lambda

if TYPE_CHECKING:
    import torch

# Entries of a model that are looked at, more or less: enough for a share to a tenth of a point.
SAMPLE = 1 << 20
# How much of a block is, where it is not all of it: many small pieces tell more than a few large.
_PIECE = 1 << 14
# Users are told of larger shares. An entry that comes out as the base's was to move by less than
# half a step of the type, and every other one by more. So a share s of them holds at most s of the
# whole move, and λ is in effect less by at most s·λ; the fine-tuned side is alike. A tenth is half
# of what lies between two λ of the papers' grid.
LIMIT = 0.1
# A result is another value than an input's if it differs by more than this part of what the inputs
# differ by: float32 arithmetic leaves less.
_NOISE = 1e-3
_NARROW = ("BF16", "F16")


@dataclass
class RoundingLoss:
    """What was rounded away in one output.

    Attributes:
        compared: entries that were looked at.
        differing: of them, those where the fine-tuned models differ from the base, or under a
            method with roles the result does.
        to_base: of these, those with the base's value though the exact result is another.
        to_tuned: those with the one fine-tuned model's value though the exact result is another.
    """

    compared: int = 0
    differing: int = 0
    to_base: int = 0
    to_tuned: int = 0

    @property
    def share(self) -> float:
        """The part of the differing entries whose merge was rounded away."""
        return (self.to_base + self.to_tuned) / self.differing if self.differing else 0.0

    def as_json(self) -> dict[str, Any]:
        """Return what a manifest says of it."""
        return {"share": round(self.share, 4), **vars(self)}


class RoundingSample:
    """Compares some entries of every output with the exact result; the same ones in every run.

    They are all of a model that has no more than `SAMPLE`, and else the beginning of every n-th
    block, so many as make about that.
    """

    def __init__(self, plan: Plan, options: Options) -> None:
        self.losses = [RoundingLoss() for _ in range(plan.outputs)]
        self._plan = plan
        self._options = options
        self._lock = Lock()
        self._first: list[int] = []
        blocks = 0
        for tensor in plan.tensors:
            self._first.append(blocks)
            blocks += -(-tensor.elements // options.block_elements)
        elements = sum(tensor.elements for tensor in plan.tensors)
        self._whole = elements <= SAMPLE
        self._piece = options.block_elements if self._whole else _PIECE
        looked_at = blocks * min(self._piece, options.block_elements)
        # Odd, so that layers of a power of two blocks are not all met at the same ones.
        self._every = 1 if self._whole else max(1, looked_at // SAMPLE) | 1

    def compare(self, task: Task, number: int, exact: "torch.Tensor", reads: Reads) -> None:
        """Count what rounding makes of a block of one output.

        Args:
            task: which block.
            number: which output.
            exact: the result before it is rounded, flat.
            reads: what was read for it.
        """
        tensor = self._plan.tensors[task.number]
        if tensor.dtype not in _NARROW:
            return
        size = self._options.block_elements
        first = self._first[task.number] + task.start // size
        for index, (start, stop) in enumerate(block_ranges(len(exact), size)):
            if (first + index) % self._every == 0:
                stop = min(stop, start + self._piece)
                inputs = self._inputs(tensor, reads, start, stop)
                self._add(number, self._found(tensor, exact[start:stop].to("cpu"), inputs))

    def _found(
        self, tensor: TensorPlan, exact: "torch.Tensor", inputs: "list[torch.Tensor]"
    ) -> tuple[int, int, int, int]:
        base, *tuned = inputs
        # What models in other roles add shows in the result alone.
        others = [exact] if self._plan.method.roles else []
        span = (tuned + others)[0].sub(base).abs_()
        for each in (tuned + others)[1:]:
            span = span.maximum(each.sub(base).abs_())
        noise = span * _NOISE
        differs = span > 0
        rounded = exact.to(torch_dtype(tensor.dtype)).to(exact.dtype)

        def lost(value: "torch.Tensor") -> "torch.Tensor":
            moved = exact.sub(value).abs_() > noise
            return moved.logical_and_(rounded == value).logical_and_(differs)

        to_base = lost(base)
        to_tuned = 0
        if len(tuned) == 1:
            to_tuned = int(lost(tuned[0]).logical_and_(~to_base).sum())
        return len(exact), int(differs.sum()), int(to_base.sum()), to_tuned

    def _inputs(
        self, tensor: TensorPlan, reads: Reads, start: int, stop: int
    ) -> "list[torch.Tensor]":
        """Return the base's and the fine-tuned models' entries of a part of what was read.

        What the method did not read is read here, unobserved, so that checksums of inputs stay over
        what the merge takes.
        """
        apart = Reads(
            reads.start + start,
            reads.start + stop,
            tensor.work_dtype,
            observe=lambda *_: b"",
            block_elements=self._options.block_elements,
            allow_nonfinite=True,
        )
        operands = tensor.operands
        assert operands.base is not None
        found = []
        for operand in (operands.base, *operands.tuned):
            whole = reads.at_hand(operand)
            part = apart.weight(operand) if whole is None else whole[start:stop].to("cpu")
            found.append(part)
        return found

    def _add(self, number: int, found: tuple[int, int, int, int]) -> None:
        with self._lock:
            loss = self.losses[number]
            loss.compared += found[0]
            loss.differing += found[1]
            loss.to_base += found[2]
            loss.to_tuned += found[3]

    def note(self) -> str | None:
        """Return a sentence if rounding took more from an output than it should, else None."""
        plan = self._plan
        names = [f" ({shown_lambda(value)})" for value in plan.recipe.lambdas] or [""]
        told = [
            f"{loss.share:.0%}{name}"
            for name, loss in zip(names, self.losses, strict=True)
            if loss.share > LIMIT
        ]
        if not told:
            return None
        narrow = (tensor for tensor in plan.tensors if tensor.dtype in _NARROW)
        dtype = config_name(max(narrow, key=lambda tensor: tensor.nbytes).dtype)
        sampled = "" if self._whole else ", in a sample"
        instead = " or an adapter" if not plan.method.takes_lambda else ", an adapter or another λ"
        return (
            f"of the entries where the inputs differ {', '.join(told)} came out exactly as in the "
            f"base or the fine-tuned model{sampled}, because {dtype} has no value between; take "
            f"--dtype float32{instead}"
        )
