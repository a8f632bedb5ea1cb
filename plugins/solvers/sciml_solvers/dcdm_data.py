"""Right-hand sides to train a direction network on: random combinations of Ritz vectors of the matrix."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.linalg
import torch
from scipy import sparse

from sciml.progress import Progress

LOW, ZERO = 9.0, 1e-8  # weight of the low modes, and the Ritz value below which a mode counts as constant


class Basis:
    """An orthonormal basis that grows vector by vector and keeps at most `memory_bytes` of itself in memory.

    Full blocks beyond that are written to the folder `scratch` (float64, `.npy`) and read back one at a time.

    Parameters
    ----------
    n_unknowns : length of a vector.
    memory_bytes : of the blocks kept in memory; a block takes a quarter of it.
    scratch : folder for what does not fit; None refuses to grow beyond the memory.
    """

    def __init__(self, n_unknowns: int, memory_bytes: int, scratch: str | Path | None = None) -> None:
        self.n_block = int(memory_bytes / 4 // (8 * n_unknowns))
        if self.n_block < 1:
            need = f"at least {32 * n_unknowns:,} bytes for vectors of {n_unknowns:,} unknowns"
            raise ValueError(f"Basis: expected memory_bytes of {need}, got {memory_bytes:,}; raise it")
        self.n_unknowns, self.scratch = n_unknowns, Path(scratch) if scratch else None
        self.n_vectors, self._blocks, self._files = 0, list[np.ndarray](), list[Path]()

    def append(self, vector: np.ndarray) -> None:
        """Add one vector; the oldest block in memory goes to the scratch folder where four blocks are full."""
        place = self.n_vectors % self.n_block
        if place == 0:
            if len(self._blocks) == 4:
                self._spill()
            self._blocks.append(np.empty((self.n_block, self.n_unknowns)))
        self._blocks[-1][place] = vector
        self.n_vectors += 1

    def _spill(self) -> None:
        if self.scratch is None:
            have = f"{self.n_vectors} vectors of {8 * self.n_unknowns:,} bytes"
            raise ValueError(
                f"Basis: expected a scratch folder beyond {have}, got none; give one or raise memory_bytes"
            )
        self._files.append(self.scratch / f"basis-{len(self._files)}.npy")
        np.save(self._files[-1], self._blocks.pop(0))

    def blocks(self) -> Iterator[np.ndarray]:
        """Give the vectors in order, block by block: (vector, unknown)."""
        for path in self._files:
            yield np.load(path, mmap_mode="r", allow_pickle=False)
        left = self.n_vectors - len(self._files) * self.n_block
        for block in self._blocks:
            yield block[: min(left, self.n_block)]
            left -= self.n_block

    def remove_from(self, vector: np.ndarray) -> np.ndarray:
        """Return `vector` without its part in the span of the basis; called twice it is orthogonal to rounding."""
        for block in self.blocks():
            vector = vector - (block @ vector) @ block
        return vector

    def combine(self, weights: np.ndarray) -> np.ndarray:
        """Return the sums over the basis weights (vector, sample) -> (sample, unknown), one block at a time."""
        total, first = np.zeros((weights.shape[1], self.n_unknowns)), 0
        for block in self.blocks():
            total += weights[first : first + len(block)].T @ block
            first += len(block)
        return total


def lanczos(matrix: sparse.spmatrix, start: np.ndarray, n_steps: int, basis: Basis,
            progress: Progress | None = None) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """Fill `basis` with v_1 .. v_m where ``A V = V T + beta_m v_(m+1) e_m^T``, and return the diagonals of T.

    Parameters
    ----------
    matrix : symmetric A (unknown, unknown).
    start : v_1 up to its norm (unknown).
    n_steps : m; fewer are made where the Krylov space is exhausted.
    basis : empty; receives the vectors.
    progress : shows the steps; none by default.

    Returns
    -------
    alpha (m), beta (m - 1) : diagonal and off-diagonal of T.

    *Contract*: V^T V = I to 1e-12, as every vector is orthogonalised against all before it, twice: without that the
    converged Ritz values come again and again, and their vectors count several times in the sums below.

    *Source*: B. N. Parlett, The Symmetric Eigenvalue Problem (1998), section 13.1; twice is enough: section 6.9.
    """
    alpha, beta = [], list[float]()
    vector = start / np.linalg.norm(start)
    scale = abs(matrix).sum(axis=1).max()
    with (progress or Progress(enabled=False)).track(n_steps, "Lanczos") as update:
        for step in range(n_steps):
            basis.append(vector)
            product = matrix @ vector
            alpha.append(float(vector @ product))
            product = basis.remove_from(basis.remove_from(product))
            norm = float(np.linalg.norm(product))
            update(step + 1)
            if norm <= 1e-12 * scale or step == n_steps - 1:
                break
            beta.append(norm)
            vector = product / norm
    return np.array(alpha), np.array(beta)


@dataclass(frozen=True)
class Ritz:
    """Ritz pairs of a matrix, their vectors as rotations of a Lanczos basis.

    Parameters
    ----------
    values : theta (mode), increasing, those below 1e-8 left out.
    rotation : eigenvectors of the tridiagonal matrix (vector, mode).
    basis : the Lanczos vectors.
    """

    values: np.ndarray
    rotation: np.ndarray
    basis: Basis

    def vectors(self, modes: slice | np.ndarray = slice(None)) -> np.ndarray:
        """Return Ritz vectors q_j (mode, unknown) of unit norm."""
        return self.basis.combine(self.rotation[:, modes])

    def samples(self, n_samples: int, generator: torch.Generator, n_low: int | None = None) -> torch.Tensor:
        """Return unit vectors ``b = sum_j c_j q_j / ||.||`` (sample, unknown), float32.

        The law of the paper: c_j is 9 times a standard normal number for j < `n_low`, in the order of the Ritz values,
        and a standard normal number from there on. `n_low` None is the published m / 2 + 500, m all Lanczos vectors.
        Numbers come from `generator` alone. One pass over the basis serves all samples; beyond the blocks of the basis
        it takes 8 bytes times samples times unknowns.
        """
        n_vectors, n_modes = self.rotation.shape
        low = n_vectors // 2 + 500 if n_low is None else n_low
        draws = torch.randn(n_samples, n_modes, generator=generator, dtype=torch.float64).numpy()
        draws[:, :low] *= LOW
        combined = self.basis.combine(self.rotation @ draws.T)
        combined /= np.linalg.norm(combined, axis=1, keepdims=True)
        return torch.from_numpy(combined.astype(np.float32))


def ritz(matrix: sparse.spmatrix, n_vectors: int, generator: torch.Generator, *, memory_bytes: int = 2**30,
         scratch: str | Path | None = None, progress: Progress | None = None) -> Ritz:  # fmt: skip
    """Return Ritz pairs of a symmetric matrix from `n_vectors` Lanczos steps that start at A times a normal vector.

    Parameters
    ----------
    matrix : symmetric positive (semi-)definite A (unknown, unknown).
    n_vectors : m; at most the rank of the matrix, fewer where the Krylov space is exhausted.
    generator : of the start vector.
    memory_bytes : limit for the Lanczos vectors in memory; the rest lies in `scratch`, at 8 m n bytes on disk in all.
    scratch : folder for that rest; made by the caller and kept by the caller.
    progress : shows the steps; none by default.

    *Source*: A. Kaneda et al., ICML 2023, and the released data maker: m = 10,000 for 64^3 and 128^3.

    *Departures*: the start is drawn from a generator; the basis is streamed, where the released code holds m n numbers
    in memory, 21 GB at 64^3 and 168 GB at 128^3, and as much again for the Ritz vectors.
    """
    n_unknowns = matrix.shape[0]
    if matrix.shape != (n_unknowns, n_unknowns) or not 1 <= n_vectors <= n_unknowns:
        got = f"a matrix {matrix.shape} and n_vectors = {n_vectors}"
        raise ValueError(f"ritz: expected a square matrix and 1 <= n_vectors <= its size, got {got}; ask for fewer")
    start = torch.randn(n_unknowns, generator=generator, dtype=torch.float64).numpy()
    basis = Basis(n_unknowns, memory_bytes, scratch)
    alpha, beta = lanczos(matrix, matrix @ start, n_vectors, basis, progress)
    values, rotation = scipy.linalg.eigh_tridiagonal(alpha, beta)
    kept = values >= ZERO
    return Ritz(values[kept], rotation[:, kept], basis)
