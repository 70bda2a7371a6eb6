"""Subspaces of a safety vector's matrices: what lies in them, and their leading part."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

# Matrices with no more rows or columns have all their singular values computed.
EXACT_SIDE = 512
# The range finder draws so many directions more than it is asked for, and improves them as often.
_SPARE = 16
_ROUNDS = 8


def of_each_matrix(
    part: "Callable[[torch.Tensor], torch.Tensor]", flat: "torch.Tensor", shape: Sequence[int]
) -> "torch.Tensor":
    """Return parts of the matrices of a flat tensor, flat again.

    Args:
        part: of one matrix, of its shape.
        flat: the tensor's entries.
        shape: of the tensor; where it has more than two dimensions the last two make each matrix.
    """
    import torch

    return torch.cat([part(each).reshape(-1) for each in flat.reshape(-1, *shape[-2:])])


def cosine_with_projection(
    vector: "torch.Tensor", left: "torch.Tensor", right: "torch.Tensor | None" = None
) -> float:
    """Return the cosine of `C·X` and `X`, `C = V·Vᵀ/‖V‖`, for an update X; 0 if either is zero.

    C itself, `[out, out]`, is not formed where V is taller than wide.

    Args:
        vector: V, `[out, in]`.
        left: X, or where it has a low rank the left one of its factors, `[out, r]`.
        right: the other, `[r, in]`.
    """
    import torch

    tall = vector.shape[0] > vector.shape[1]
    projected = vector @ (vector.T @ left) if tall else (vector @ vector.T) @ left
    one, other = projected.double(), left.double()
    if right is None:
        squares = [one.square().sum(), other.square().sum(), (one * other).sum()]
    else:
        # <P·A, B·A> = Σ (PᵀB)∘(A·Aᵀ).
        gram = right.double() @ right.double().T
        squares = [((a.T @ b) * gram).sum() for a, b in ((one, one), (other, other), (one, other))]
    norm = (squares[0].clamp(min=0).sqrt() * squares[1].clamp(min=0).sqrt()).item()
    return float(torch.clamp(squares[2] / norm, -1, 1)) if norm > 0 else 0.0


def leading_part(matrix: "torch.Tensor", rank: int, seed: int = 0) -> "torch.Tensor":
    """Return the nearest matrix of a rank, `SVD_k(M) = Σᵢ₌₁ᵏ σᵢ·uᵢ·vᵢᵀ`, `[rows, columns]`.

    Of a matrix of more than 512 rows and columns the singular vectors are found by subspace
    iteration from a random range (Halko, Martinsson & Tropp 2011, 0909.4061, algorithm 4.4); where
    the next singular values are close to the k-th it may return another part about as near.

    Args:
        matrix: M, of any floating-point type.
        rank: k; the whole matrix has as many as its shorter side.
        seed: of the range.
    """
    import torch

    rows, columns = matrix.shape
    if rank >= min(rows, columns):
        return matrix
    if rows < columns:
        return leading_part(matrix.T, rank, seed).T
    if columns <= EXACT_SIDE or rank + _SPARE >= columns:
        basis = _leading_directions(matrix, rank)
    else:
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(columns, rank + _SPARE, generator=generator).to(matrix)
        spanning: torch.Tensor = torch.linalg.qr(drawn).Q
        for _ in range(_ROUNDS):
            spanning = torch.linalg.qr(matrix.T @ (matrix @ spanning)).Q
        basis = spanning @ _leading_directions(matrix @ spanning, rank)
    return (matrix @ basis) @ basis.T


def _leading_directions(matrix: "torch.Tensor", rank: int) -> "torch.Tensor":
    """Return the right singular vectors of the largest values, `[columns, rank]`."""
    import torch

    wide = matrix.double()
    vectors: torch.Tensor = torch.linalg.eigh(wide.T @ wide).eigenvectors
    return vectors[:, -rank:].to(matrix)


def entropy_part(matrix: "torch.Tensor") -> "torch.Tensor":
    """Return the nearest matrix of the effective rank, `exp(-Σ pᵢ·ln pᵢ)`, rounded.

    Roy & Vetterli 2007, "The effective rank": `pᵢ = σᵢ/Σⱼ σⱼ`. All singular values are needed, so
    that the time grows with the third power of the shorter side. A matrix of zeros is returned.
    """
    import torch

    if not matrix.any():
        return matrix
    if matrix.shape[0] < matrix.shape[1]:
        return entropy_part(matrix.T).T
    wide = matrix.double()
    squares, directions = torch.linalg.eigh(wide.T @ wide)
    values = squares.clamp(min=0).sqrt()
    shares = values / values.sum()
    rank = round(float(torch.special.entr(shares).sum().exp()))
    basis: torch.Tensor = directions[:, -rank:].to(matrix)
    return (matrix @ basis) @ basis.T
