"""A linear, multigrid-shaped network whose stencils are computed from the kinds of the cells around."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from sciml.fields import FieldSpec, Region, Spec
from sciml.surrogate import Network
from sciml.training import seeded
from sciml_solvers.dcdm import Direction, network_direction
from sciml_solvers.dcdm_net import CELLS, POOL, Cells
from sciml_solvers.problems import FLUID

N_KINDS = 3
CONV = {2: functional.conv2d, 3: functional.conv3d}


@dataclass(frozen=True)
class Taps:
    """What the network computes from the cells alone, once for a mask.

    Parameters
    ----------
    pre, post : stencils (tap, cells...) of each level but the coarsest, finest first.
    bottom : stencil of the coarsest level.
    keep, add : weights of the level itself and of what comes from below, one each per level but the coarsest.
    fluid : one in fluid cells, else zero (cells...).
    """

    pre: list[Tensor]
    post: list[Tensor]
    bottom: Tensor
    keep: list[Tensor]
    add: list[Tensor]
    fluid: Tensor


class FlagConv(nn.Module):
    """Linear map from three channels in the 3^d cells around to `n_outputs` = 3^d numbers at each cell.

    (3 * 3^d + 1) 3^d parameters: 252 in 2-D, 2,214 in 3-D. `center` is added to the middle output at the start.
    """

    def __init__(self, n_axes: int, center: float, generator: torch.Generator) -> None:
        super().__init__()
        n_taps = 3**n_axes
        weight = 0.01 * torch.randn(n_taps, N_KINDS, *(3,) * n_axes, generator=generator)
        bias = torch.zeros(n_taps)
        bias[n_taps // 2] = center
        self.weight, self.bias = nn.Parameter(weight), nn.Parameter(bias)

    def forward(self, kinds: Tensor) -> Tensor:
        """Map kinds (3, cells...) to (tap, cells...)."""
        return CONV[kinds.ndim - 1](kinds[None], self.weight, self.bias, padding=1)[0]


class MlpcgNet(Network):
    """Direction ``q = B(cells) r``: linear in the residual r, with stencils that depend on the kinds of the cells.

    On each level ``x = K(cells) r`` with 3^d taps per cell, averaged to the next level and treated there alike; on the
    way up ``x <- K'(cells) (c0(cells) x + c1(cells) up(x_below))`` with up linear interpolation. K, K', c0 and c1 (the
    mean over cells and taps) come from three channels (solid, fluid, air), averaged level by level, by `FlagConv`.

    Parameters
    ----------
    n_axes : 2 or 3.
    n_coarsenings : n >= 1; (4 n + 1) 252 parameters in 2-D, (4 n + 1) 2,214 in 3-D: 46,494 for n = 5, of which 24,354
        are those of the stencils.
    seed : of the initial weights, which start near a sum of all levels (K = 1, c0 = 1, c1 = 4: additive multigrid).

    *Contract*: linear in the residual: ``B(s r + t r') = s B r + t B r'`` up to rounding; zero outside of fluid cells;
    `apply` with cached taps = `forward` to the bit. Neither symmetric nor definite: not for plain conjugate gradients.

    *Source*: K. Lan, E. Gueidon, A. Kaneda, J. Panetta, J. Teran, "A neural-preconditioned Poisson solver for mixed
    Dirichlet and Neumann boundary conditions", ICML 2024 (arXiv 2310.00177), and the released networks.

    *Departures*: the third channel is "solid", where the released one is "not solid"; coarse channels are averages;
    the initial weights; odd boxes; the residual outside of fluid is set to zero first.
    """

    registered: ClassVar[str] = "solvers.mlpcg"

    def __init__(self, n_axes: int = 3, n_coarsenings: int = 4, seed: int = 1) -> None:
        super().__init__()
        if n_axes not in (2, 3) or n_coarsenings < 1:
            got = f"n_axes = {n_axes} and n_coarsenings = {n_coarsenings}"
            raise ValueError(f"MlpcgNet: expected n_axes 2 or 3 and n_coarsenings >= 1, got {got}; correct them")
        self.n_axes, self.n_coarsenings, self.seed = n_axes, n_coarsenings, int(seed)
        generator = seeded(self.seed, "mlpcg")

        def convs(n: int, center: float) -> nn.ModuleList:
            return nn.ModuleList(FlagConv(n_axes, center, generator) for _ in range(n))

        self.pre, self.post = convs(n_coarsenings, 1.0), convs(n_coarsenings, 1.0)
        self.bottom = FlagConv(n_axes, 1.0, generator)
        # A gate is the mean over 3^d outputs, so the middle one carries 3^d times its value.
        self.keep, self.add = convs(n_coarsenings, 3.0**n_axes), convs(n_coarsenings, 4.0 * 3.0**n_axes)

    @property
    def spec(self) -> Spec:
        """Residual of any unit and kinds of cells in, direction without unit out."""
        axes = CELLS[: self.n_axes]
        residual = FieldSpec("residual", ("batch", *axes), description="Right-hand side minus matrix times iterate")
        kinds = FieldSpec("cells", axes, bounds=Region.interval(0, N_KINDS - 1), description="0 solid, 1 fluid, 2 air")
        direction = FieldSpec("direction", ("batch", *axes), description="Search direction, its scale has no meaning")
        return Spec((residual, kinds), (direction,))

    @property
    def config(self) -> dict[str, Any]:
        """Constructor arguments as plain JSON values."""
        return {"n_axes": self.n_axes, "n_coarsenings": self.n_coarsenings, "seed": self.seed}

    def forward(self, **inputs: Tensor) -> dict[str, Tensor]:
        """Map residual (batch, cells...) and cells (cells...), codes 0 to 2, to direction (batch, cells...)."""
        return {"direction": self.apply_taps(self.taps(inputs["cells"]), inputs["residual"])}

    def taps(self, cells: Tensor) -> Taps:
        """Compute all stencils for cells (cells...): (2 n + 1) 3^d numbers at a cell, less what coarsening saves."""
        weight = self.bottom.weight
        kinds = torch.stack([cells == kind for kind in range(N_KINDS)]).to(weight)
        fluid, pre, post, keep, add = kinds[FLUID], [], [], [], []
        for level in range(self.n_coarsenings):
            pre.append(self.pre[level](kinds))
            post.append(self.post[level](kinds))
            keep.append(self.keep[level](kinds).mean())
            add.append(self.add[level](kinds).mean())
            kinds = _coarse(kinds)
        return Taps(pre, post, self.bottom(kinds), keep, add, fluid)

    def apply_taps(self, taps: Taps, residual: Tensor) -> Tensor:
        """Apply the linear map of `taps` to residual (batch, cells...): the part that each iteration costs."""
        x, levels = taps.fluid * residual, list[Tensor]()
        for stencil in taps.pre:
            levels.append(_stencil(stencil, x))
            x = _coarse(levels[-1])
        x = _stencil(taps.bottom, x)
        for stencil, keep, add in zip(taps.post[::-1], taps.keep[::-1], taps.add[::-1], strict=True):
            level = levels.pop()
            x = _stencil(stencil, keep * level + add * _fine(x, level.shape[1:]))
        return taps.fluid * x


def mlpcg_direction(network: MlpcgNet, cells: NDArray[np.uint8]) -> Direction:
    """Return the rule for :func:`sciml_solvers.dcdm.dcdm` on a mask (cells...), its taps computed once."""
    weight = network.bottom.weight
    with torch.no_grad():
        taps = network.taps(torch.from_numpy(cells).to(weight.device))
    return network_direction(_Cached(network, taps), Cells.of_mask(cells == FLUID))


class _Cached(nn.Module):
    def __init__(self, network: MlpcgNet, taps: Taps) -> None:
        super().__init__()
        self.network, self._taps = network, taps

    def forward(self, residual: Tensor) -> dict[str, Tensor]:
        return {"direction": self.network.apply_taps(self._taps, residual)}


def _stencil(taps: Tensor, x: Tensor) -> Tensor:
    """Return ``y_i = sum_o taps_(o, i) x_(i + o)`` over the 3^d cells around; x is zero outside of the box."""
    n_axes, shape = taps.ndim - 1, x.shape[1:]
    padded = functional.pad(x, (1, 1) * n_axes)
    y = torch.zeros_like(x)
    for tap, offset in zip(taps, np.ndindex(*(3,) * n_axes), strict=True):
        places = tuple(slice(o, o + n) for o, n in zip(offset, shape, strict=True))
        y = y + tap * padded[(slice(None), *places)]
    return y


def _coarse(x: Tensor) -> Tensor:
    """Average 2^d cells; the last ones of an odd box average what is there."""
    return POOL[x.ndim - 1](x[:, None], 2, ceil_mode=True, count_include_pad=False)[:, 0]


def _fine(x: Tensor, shape: torch.Size) -> Tensor:
    """Interpolate linearly between the centres of cells twice as wide, and cut to `shape`."""
    mode = "bilinear" if len(shape) == 2 else "trilinear"
    fine = functional.interpolate(x[:, None], scale_factor=2.0, mode=mode, align_corners=False)[:, 0]
    return fine[(slice(None), *(slice(n) for n in shape))]
