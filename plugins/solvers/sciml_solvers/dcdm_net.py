"""The network of the deep conjugate direction method: a residual goes in, a search direction comes out."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sciml.fields import FieldSpec, Spec
from sciml.surrogate import Network
from sciml.training import count_parameters, seeded

Scaling = Literal["norm", "rms"]
CELLS = ("cell_x", "cell_y", "cell_z")
TOPOLOGIES = {64: (4, 6, 4), 128: (6, 10, 6)}  # convolutions on the fine grid, on the coarse one, on the way back up
COUNTS = {(2, 64): 32_657, (2, 128): 51_217, (3, 64): 97_457, (3, 128): 152_881}
LAYOUTS = {2: torch.channels_last, 3: torch.channels_last_3d}
POOL = {2: functional.avg_pool2d, 3: functional.avg_pool3d}


class DcdmNet(Network):
    """Search direction ``q = N(r / ||r||)`` for a residual r on a box of cells, at two scales.

    A linear convolution 1 -> 16; then, with c a 3^d convolution 16 -> 16, zero padded, with bias and ReLU, the pairs
    ``b = c(a), a = c(b) + a`` on the grid, on the grid averaged over 2^d cells, and on the grid again after nearest
    neighbour interpolation and a skip; then a linear map 16 -> 1 per cell.

    Parameters
    ----------
    n_axes : 2 or 3.
    topology : 64 or 128, the published nets of these grid sizes: 97,457 and 152,881 parameters in 3-D. Either runs on
        boxes of any size; the 2-D nets, with 32,657 and 51,217, are the same layers with 3^2 kernels.
    scaling : "norm" gives the net r / ||r||, as published; "rms" gives it sqrt(n) r / ||r||, whose entries are of size
        one on a box of any number n of cells, so that the biases keep their meaning where the size changes.
    seed : of the initial weights (Glorot uniform, zero biases).

    *Contract*: positive scale invariance, ``N(s r) = N(r)`` for s > 0 up to rounding; zero for r = 0 is not promised.

    *Source*: A. Kaneda, O. Akar, J. Chen, V. Kala, D. Hyde, J. Teran, "A deep conjugate direction method for
    iteratively solving linear systems", ICML 2023 (PMLR 202), and the released networks.

    *Departures*: odd boxes are allowed (the last coarse cell averages what is there); 2-D; the scaling "rms".
    """

    registered: ClassVar[str] = "solvers.dcdm"

    def __init__(self, n_axes: int = 3, topology: int = 64, scaling: Scaling = "norm", seed: int = 1) -> None:
        super().__init__()
        if n_axes not in (2, 3):
            raise ValueError(f"DcdmNet: expected n_axes 2 or 3, got {n_axes}; give the number of axes of the box")
        if topology not in TOPOLOGIES:
            raise ValueError(
                f"DcdmNet: expected a topology of {sorted(TOPOLOGIES)}, got {topology}; choose one of them"
            )
        if scaling not in get_args(Scaling):
            raise ValueError(f"DcdmNet: expected scaling one of {get_args(Scaling)}, got {scaling!r}; choose one")
        self.n_axes, self.topology, self.scaling, self.seed = n_axes, topology, scaling, int(seed)
        conv, generator = (nn.Conv2d, nn.Conv3d)[n_axes - 2], seeded(self.seed, "dcdm")
        n_fine, n_coarse, n_up = TOPOLOGIES[topology]
        self.first = conv(1, 16, 3, padding=1)
        self.fine = nn.ModuleList(conv(16, 16, 3, padding=1) for _ in range(n_fine))
        self.coarse = nn.ModuleList(conv(16, 16, 3, padding=1) for _ in range(n_coarse))
        self.up = nn.ModuleList(conv(16, 16, 3, padding=1) for _ in range(n_up))
        self.last = conv(16, 1, 1)
        for module in (self.first, *self.fine, *self.coarse, *self.up, self.last):
            nn.init.xavier_uniform_(module.weight, generator=generator)
            nn.init.zeros_(module.bias)
        if count_parameters(self) != COUNTS[n_axes, topology]:
            raise AssertionError(
                f"DcdmNet: expected {COUNTS[n_axes, topology]} parameters, got {count_parameters(self)}"
            )

    @property
    def spec(self) -> Spec:
        """Residual of any unit in, direction without unit out."""
        dims = ("batch", *CELLS[: self.n_axes])
        residual = FieldSpec("residual", dims, description="Right-hand side minus matrix times iterate, any scale")
        return Spec(
            (residual,), (FieldSpec("direction", dims, description="Search direction, its scale has no meaning"),)
        )

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"n_axes": self.n_axes, "topology": self.topology, "scaling": self.scaling, "seed": self.seed}

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map residual (batch, cells...) to direction (batch, cells...)."""
        residual = inputs["residual"]
        axes = tuple(range(1, residual.ndim))
        norm = torch.linalg.vector_norm(residual, dim=axes, keepdim=True)
        size = math.sqrt(residual[0].numel()) if self.scaling == "rms" else 1.0
        unit = size * residual / norm.clamp_min(torch.finfo(residual.dtype).tiny)
        # Channels last is 1.7 times faster on a CPU; the weights stay as they are saved, so that bits are the same.
        first = self.first(unit[:, None]).contiguous(memory_format=LAYOUTS[self.n_axes])
        a = functional.relu(self.fine[0](first))
        b = functional.relu(self.fine[1](a))
        b = _pairs(self.fine[2:], a, b)
        pooled = POOL[self.n_axes](b, 2, ceil_mode=True, count_include_pad=False)
        raised = functional.interpolate(_sums(self.coarse, pooled), scale_factor=2.0, mode="nearest")
        cells = (slice(None), slice(None), *(slice(n) for n in residual.shape[1:]))
        top = _sums(self.up, raised[cells] + b)
        return {"direction": self.last(top)[:, 0]}


def _pairs(layers: nn.ModuleList, a: Tensor, b: Tensor) -> Tensor:
    """Continue ``a = relu(c(b)) + a, b = relu(c'(a))`` and return the last b."""
    for even, odd in zip(layers[0::2], layers[1::2], strict=True):
        a = functional.relu(even(b)) + a
        b = functional.relu(odd(a))
    return b


def _sums(layers: nn.ModuleList, a: Tensor) -> Tensor:
    """Apply ``b = relu(c(a)), a = relu(c'(b)) + a`` for each pair of layers and return the last a."""
    for odd, even in zip(layers[0::2], layers[1::2], strict=True):
        b = functional.relu(odd(a))
        a = functional.relu(even(b)) + a
    return a


@dataclass(frozen=True)
class Cells:
    """Where the unknowns of a matrix lie on a box of cells.

    Parameters
    ----------
    shape : cells along each axis.
    index : place of each unknown in the box, flat in C order; None where every cell is an unknown.

    *Contract*: `to_vectors` of `to_grid` gives the vectors back to the bit.
    """

    shape: tuple[int, ...]
    index: Tensor | None = None

    @classmethod
    def of_mask(cls, unknown: np.ndarray) -> Cells:
        """Return the cells where `unknown` (cells...) is true: in C order, as the rows of the matrix are."""
        index = None if unknown.all() else torch.from_numpy(np.flatnonzero(unknown))
        return cls(tuple(unknown.shape), index)

    def to_grid(self, vectors: Tensor) -> Tensor:
        """Put vectors (batch, unknown) on the box (batch, cells...), zero where there is no unknown."""
        if self.index is None:
            return vectors.reshape(len(vectors), *self.shape)
        grid = vectors.new_zeros(len(vectors), math.prod(self.shape))
        return grid.index_copy(1, self.index.to(vectors.device), vectors).reshape(len(vectors), *self.shape)

    def to_vectors(self, grid: Tensor) -> Tensor:
        """Take the unknowns (batch, unknown) from the box (batch, cells...)."""
        flat = grid.flatten(1)
        return flat if self.index is None else flat[:, self.index.to(grid.device)]
