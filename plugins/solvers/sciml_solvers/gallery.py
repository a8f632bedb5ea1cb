"""Named problems of any shape, deterministic, and random masks to train on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from sciml_solvers.problems import AIR, FLUID, SOLID, MaskProblem

Shape = tuple[int, ...]


def problem(name: str, n: int | Shape, n_axis: int = 3, seed: int = 7) -> MaskProblem:
    """Return a problem of the gallery.

    Parameters
    ----------
    name
        One of `NAMES`.
    n
        Cells along every axis, or the shape itself, such as ``(256, 128, 128)``.
    n_axis
        2 or 3; not looked at where `n` is a shape.
    seed
        Of random masks, coefficients and right-hand sides.

    *Contract*: the same arguments give the same problem to the bit.

    Examples
    --------
    >>> problem("dam", (24, 16), n_axis=2).cells.shape
    (24, 16)
    """
    shape = (n,) * n_axis if isinstance(n, int) else tuple(n)
    if name not in _MAKERS:
        raise ValueError(f"problem: expected one of {', '.join(NAMES)}, got {name!r}; choose one of these")
    if len(shape) not in (2, 3) or min(shape) < 4:
        raise ValueError(f"problem: expected 2 or 3 axes of at least 4 cells, got {shape}; choose another shape")
    return _MAKERS[name](shape, np.random.default_rng(seed))


def random_mask(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    """Draw a problem to train on: solids, thin walls, jumps or anisotropy in turn, air above in half of them."""
    cells = _fluid(shape)
    x = _positions(shape)
    for _ in range(generator.integers(1, 6)):
        centre, radius = generator.uniform(0.1, 0.9, len(shape)), generator.uniform(0.06, 0.25)
        cells[sum((x[a] - centre[a]) ** 2 for a in range(len(shape))) < radius**2] = SOLID
    for _ in range(generator.integers(0, 4)):
        axis = int(generator.integers(len(shape)))
        _baffle(cells, axis, int(generator.integers(2, shape[axis] - 2)), generator)
    coefficient, spacing = None, ()
    kind = generator.integers(4)
    if kind == 0:
        block = 2 ** int(generator.integers(1, 4))
        coefficient = np.where(_checker(shape, block), 10 ** generator.uniform(1, 4), 1.0)
    elif kind == 1:
        spacing = tuple(10.0 ** generator.uniform(0, 1, len(shape)))
    if generator.random() < 0.5:
        cells[..., -1] = AIR
    made = MaskProblem("random", cells, generator.standard_normal(shape), coefficient, spacing)
    return made if (cells == AIR).any() else replace(made, rhs=_balanced(cells, made.rhs))


def _solids(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    """Sphere, plate, baffle and pillar in a box open at the top; the divergence of a plume."""
    cells, x = _fluid(shape), _positions(shape)
    across = range(len(shape) - 1)
    cells[sum((x[a] - 0.5) ** 2 for a in across) + (x[-1] - 0.45) ** 2 < 0.15**2] = SOLID
    cells[(np.abs(x[-1] - 0.75) < 0.03) & (x[0] > 0.2) & (x[0] < 0.6)] = SOLID
    cells[(np.abs(x[0] - 0.8) < 0.02) & (x[-1] > 0.2) & (x[-1] < 0.6) & (x[len(shape) - 2] < 0.5)] = SOLID
    cells[(np.abs(x[0] - 0.25) < 0.05) & (np.abs(x[len(shape) - 2] - 0.25) < 0.05) & (x[-1] < 0.5)] = SOLID
    cells[..., -1] = AIR
    return MaskProblem("solids", cells, _plume(x, shape))


def _dam(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    """A column of water with a slanted surface beside air, a step on the floor."""
    cells, x = _fluid(shape), _positions(shape)
    cells[x[-1] > 0.75 - 0.5 * x[0]] = AIR
    cells[(x[0] > 0.6) & (x[0] < 0.7) & (x[-1] < 0.2)] = SOLID
    return MaskProblem("dam", cells, generator.standard_normal(shape))


def _smoke(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    cells, x = _fluid(shape), _positions(shape)
    cells[sum((x[a] - 0.5) ** 2 for a in range(len(shape))) < 0.17**2] = SOLID
    cells[..., -1] = AIR
    return MaskProblem("smoke", cells, _plume(x, shape))


def _porous(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    cells = _fluid(shape)
    cells[generator.random(shape) < 0.4] = SOLID
    cells[..., -1] = AIR
    kept = MaskProblem("porous", cells, generator.standard_normal(shape))
    return replace(kept, cells=_reached_from_air(kept))


def _maze(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    """Baffles one cell thick, eight cells apart, each with a gap on the other side than its neighbours'."""
    cells = _fluid(shape)
    for number, start in enumerate(range(4, shape[0] - 2, 8)):
        cells[start] = SOLID
        gap = max(2, shape[1] // 8)
        cells[start, slice(0, gap) if number % 2 else slice(shape[1] - gap, None)] = FLUID
    cells[-1] = AIR
    return MaskProblem("maze", cells, generator.standard_normal(shape))


def _jumps(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    coefficient = np.where(_checker(shape, max(2, min(shape) // 8)), 1e4, 1.0)
    return replace(_empty(shape, generator), name="jumps", coefficient=coefficient)


def _lognormal(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    coefficient = np.exp(2.5 * generator.standard_normal(shape))
    return replace(_empty(shape, generator), name="lognormal", coefficient=coefficient)


def _anisotropic(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    """Weights of 100 along the first axis and 1 along the others."""
    return replace(_empty(shape, generator), name="anisotropic", spacing=(0.1, *(1.0,) * (len(shape) - 1)))


def _neumann(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    cells, x = _fluid(shape), _positions(shape)
    cells[sum((x[a] - 0.4) ** 2 for a in range(len(shape))) < 0.2**2] = SOLID
    return MaskProblem("neumann", cells, _balanced(cells, generator.standard_normal(shape)))


def _two_components(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    """Two closed rooms behind one wall."""
    cells = _fluid(shape)
    wall = shape[0] // 2
    cells[wall] = SOLID
    rhs = generator.standard_normal(shape)
    for part in (slice(0, wall), slice(wall + 1, None)):
        rhs[part] -= rhs[part].mean()
    return MaskProblem("two_components", cells, rhs)


def _empty(shape: Shape, generator: np.random.Generator) -> MaskProblem:
    cells = _fluid(shape)
    cells[..., -1] = AIR
    return MaskProblem("empty", cells, generator.standard_normal(shape))


_MAKERS: dict[str, Callable[[Shape, np.random.Generator], MaskProblem]] = {
    "solids": _solids,
    "dam": _dam,
    "smoke": _smoke,
    "porous": _porous,
    "maze": _maze,
    "jumps": _jumps,
    "lognormal": _lognormal,
    "anisotropic": _anisotropic,
    "neumann": _neumann,
    "two_components": _two_components,
    "empty": _empty,
}
NAMES = tuple(_MAKERS)


def _fluid(shape: Shape) -> NDArray[np.uint8]:
    return np.full(shape, FLUID, dtype=np.uint8)


def _positions(shape: Shape) -> list[NDArray]:
    """Return the cell centres of the unit box, one array for each axis, views that repeat."""
    return list(np.meshgrid(*((np.arange(n) + 0.5) / n for n in shape), indexing="ij", copy=False))


def _plume(x: list[NDArray], shape: Shape) -> NDArray[np.float64]:
    """Return the divergence of a rising column: a source below, a sink of the same strength above."""
    distance = sum((x[a] - 0.5) ** 2 for a in range(len(shape) - 1))
    low = np.exp(-(distance + (x[-1] - 0.15) ** 2) / 0.005)
    high = np.exp(-(distance + (x[-1] - 0.65) ** 2) / 0.005)
    return np.broadcast_to(low - 0.8 * high, shape).copy()


def _checker(shape: Shape, block: int) -> NDArray[np.bool_]:
    index = np.meshgrid(*(np.arange(n) // block for n in shape), indexing="ij", sparse=True)
    return np.broadcast_to(sum(index) % 2 == 0, shape)


def _baffle(cells: NDArray[np.uint8], axis: int, position: int, generator: np.random.Generator) -> None:
    wall = np.moveaxis(cells, axis, 0)[position]
    start = int(generator.integers(0, max(1, wall.shape[0] // 2)))
    wall[start : start + max(1, wall.shape[0] // 2)] = SOLID


def _balanced(cells: NDArray[np.uint8], rhs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the right-hand side with mean zero over each connected fluid component, zero elsewhere."""
    from scipy import ndimage

    label, n_label = ndimage.label(cells == FLUID)
    mean = ndimage.mean(rhs, label, np.arange(n_label + 1)) if n_label else np.zeros(1)
    return np.where(label > 0, rhs - mean[label], 0.0)


def _reached_from_air(made: MaskProblem) -> NDArray[np.uint8]:
    """Return the cells with every fluid component that touches no air filled with solid."""
    from scipy import ndimage

    label, _ = ndimage.label(made.fluid)
    grounded = sum(made.face_weights(axis)[1] for axis in range(made.cells.ndim)) > 0
    wet = np.isin(label, np.unique(label[grounded]))
    return np.where(made.fluid & ~wet, SOLID, made.cells).astype(np.uint8)
