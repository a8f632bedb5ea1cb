"""A rising plume of smoke around a moving solid: a loop with one pressure solve for each time step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from sciml_solvers.problems import AIR, FLUID, SOLID, MaskProblem
from sciml_solvers.solve import solve

Grid: TypeAlias = NDArray[np.floating]


@dataclass(frozen=True)
class PlumeSettings:
    """What the loop computes.

    Parameters
    ----------
    n : cells along each side of the unit square.
    time_step : in units of the box divided by the velocity unit.
    buoyancy : upward acceleration for each unit of smoke.
    solid_speed : largest speed of the disc, which moves from side to side.
    rtol : tolerance of the pressure solve, relative to the norm of its right-hand side.
    n_kept : earlier pressures from which the first guess is made; 0 starts from zero.
    """

    n: int = 64
    time_step: float = 0.02
    buoyancy: float = 4.0
    solid_speed: float = 0.4
    rtol: float = 1e-6
    n_kept: int = 8

    def __post_init__(self) -> None:
        if self.n < 16 or self.n_kept < 0 or not self.time_step > 0 or not self.rtol > 0:
            raise ValueError(
                f"PlumeSettings: expected n >= 16, n_kept >= 0, time_step > 0 and rtol > 0, got {self}; correct these"
            )
        if abs(self.solid_speed) > 0.9:
            raise ValueError(
                f"PlumeSettings: expected a solid_speed of at most 0.9, got {self.solid_speed}; the disc would reach "
                "the walls"
            )


@dataclass(frozen=True)
class PlumeStep:
    """One time step.

    Parameters
    ----------
    problem : the pressure equation; ``-div grad p = -div u``, the time step is part of p.
    iterations : of the solve, from the guess.
    divergence_before, divergence_after : Euclidean norms over the fluid cells, of velocities in cells per cell.
    pressure : (n, n).
    smoke : (n, n), density; its sum is the amount.
    smoke_gained : amount that the source gave less what left through the top.
    iterations_cold : of the same solve from zero, where it was asked for.
    guess_error : squared A-norm of the guess's error over that of zero, at most one up to the solver's tolerance.
    """

    problem: MaskProblem
    iterations: int
    divergence_before: float
    divergence_after: float
    pressure: Grid
    smoke: Grid
    smoke_gained: float = 0.0
    iterations_cold: int | None = None
    guess_error: float = 1.0


def fischer_guess(apply: Callable[[Grid], Grid], previous: Grid, b: Grid) -> Grid:
    r"""Return the best guess in the span of previous solutions.

    ``x_0 = sum_i (b, v_i) v_i`` with vectors v of the span that are A-orthonormal, ``(v_i, A v_j) = 1_ij``.

    Parameters
    ----------
    apply
        The matrix A, symmetric and positive semi-definite, (vector, unknown) to (vector, unknown).
    previous : (vector, unknown)
        Solutions for earlier right-hand sides or of nearby matrices; any, even dependent ones.
    b : (unknown,)
        Right-hand side.

    Returns
    -------
    (unknown,)
        The element of the span whose error has the least A-norm; the zero vector where `previous` is empty.

    *Contract*: the A-norm of the error is never above that of zero.

    *Source*: Fischer, Comput. Methods Appl. Mech. Eng. 163 (1998), method 1. *Departures*: the vectors are made
    A-orthonormal for the present matrix in every call, since the solid moves; nearly dependent directions are left out.
    """
    if not len(previous):
        return np.zeros_like(b)
    size = np.linalg.norm(previous, axis=1, keepdims=True)
    span = previous / np.where(size > 0, size, 1)
    energy = span @ apply(span).T
    eigenvalue, mix = np.linalg.eigh((energy + energy.T) / 2)
    kept = eigenvalue > 1e-10 * eigenvalue[-1]
    v = (mix[:, kept] / np.sqrt(eigenvalue[kept])).T @ span
    return (v @ b) @ v


# long: one step of the loop, as the book lists it
def plume(n_steps: int, settings: PlumeSettings | None = None, *, compare: bool = False) -> Iterator[PlumeStep]:
    """Yield the time steps of smoke that rises past a disc, in a box that is closed but for its top.

    ``u* = advect(u) + dt f,  -div grad p = -div u*,  u = u* - grad p`` on a staggered (MAC) grid.

    Parameters
    ----------
    n_steps
        Count of the steps.
    settings
        Grid, physics and tolerance; the defaults where they are left out.
    compare
        Whether every pressure equation is solved from zero too, for `PlumeStep.iterations_cold`.

    *Contract*: the divergence after a step is the residual of its pressure equation; the amount of smoke changes by
    `PlumeStep.smoke_gained` up to rounding, also where the solid sweeps it away.

    *Source*: Bridson, Fluid Simulation for Computer Graphics, chapters 3 to 6. *Departures*: smoke is carried by
    upwind fluxes, which conserve it, and not along characteristics.
    """
    settings = PlumeSettings() if settings is None else settings
    n = settings.n
    u: Grid = np.zeros((n + 1, n))
    v: Grid = np.zeros((n, n + 1))
    smoke: Grid = np.zeros((n, n))
    cells, _ = _cells(settings, 0.0)
    previous: list[Grid] = []
    for step in range(n_steps):
        u, v = _advected(u, v, settings.time_step * n)
        was, (cells, speed) = cells, _cells(settings, step * settings.time_step)
        smoke = _pushed_out(smoke, was, cells)
        emitted = _source(n, cells) * settings.time_step
        smoke = smoke + emitted
        v[:, 1:-1] += settings.time_step * settings.buoyancy * (smoke[:, 1:] + smoke[:, :-1]) / 2
        _close(u, v, cells, speed)
        before = _divergence(u, v, cells)
        problem = MaskProblem("plume", cells, -before.astype(np.float64))
        pressure, iterations, error = _pressure(problem, settings, previous)
        cold = solve(problem, rtol=settings.rtol).iterations if compare else None
        _project(u, v, cells, pressure)
        after = _divergence(u, v, cells)
        smoke, left = _carried(smoke, u, v, cells, settings.time_step * n)
        yield PlumeStep(
            problem,
            iterations,
            float(np.linalg.norm(before)),
            float(np.linalg.norm(after)),
            pressure,
            smoke.copy(),
            float(emitted.sum()) - left,
            cold,
            error,
        )
        previous = [*previous, pressure][-settings.n_kept :] if settings.n_kept else []


def _pressure(problem: MaskProblem, settings: PlumeSettings, previous: list[Grid]) -> tuple[Grid, int, float]:
    """Return the pressure, the iterations from the guess, and the guess's squared error over that of zero."""
    matrix, b = problem.matrix(), problem.to_vector(problem.rhs)
    span = np.array([problem.to_vector(p) for p in previous]).reshape(-1, len(b))
    guess = fischer_guess(lambda x: (matrix @ x.T).T, span, b)
    rest = b - matrix @ guess
    size, size_rest = float(np.linalg.norm(b)), float(np.linalg.norm(rest))
    if size_rest == 0:
        return problem.to_grid(guess), 0, 0.0
    # The correction has to be as exact as the whole is, so its tolerance is relative to b and not to the rest.
    found = solve(problem, rest, rtol=settings.rtol * size / size_rest)
    x = guess + found.x
    energy, energy_rest = x @ b, found.x @ rest
    return problem.to_grid(x), found.iterations, float(energy_rest / energy) if energy > 0 else 0.0


def _cells(settings: PlumeSettings, time: float) -> tuple[NDArray[np.uint8], float]:
    """Return the kinds of the cells and the speed of the disc along x."""
    n, rate = settings.n, 4.0
    x, y = np.meshgrid(*((np.arange(n) + 0.5) / n,) * 2, indexing="ij", sparse=True)
    centre = 0.5 + settings.solid_speed / rate * np.sin(rate * time)
    cells = np.full((n, n), FLUID, dtype=np.uint8)
    cells[(x - centre) ** 2 + (y - 0.5) ** 2 < 0.12**2] = SOLID
    cells[:, -1] = AIR
    return cells, settings.solid_speed * float(np.cos(rate * time))


def _source(n: int, cells: NDArray[np.uint8]) -> Grid:
    x, y = np.meshgrid(*((np.arange(n) + 0.5) / n,) * 2, indexing="ij", sparse=True)
    return np.where(((x - 0.5) ** 2 + (y - 0.12) ** 2 < 0.08**2) & (cells == FLUID), 10.0, 0.0)


def _advected(u: Grid, v: Grid, cells_per_speed: float) -> tuple[Grid, Grid]:
    """Carry both velocities along the flow: each face takes the value at the point where its fluid comes from."""
    n = u.shape[1]
    results = []
    for field, offset in ((u, (0.0, 0.5)), (v, (0.5, 0.0))):
        place = np.indices(field.shape) + np.reshape(offset, (2, 1, 1))
        flow = np.stack([_sampled(u, place, (0.0, 0.5)), _sampled(v, place, (0.5, 0.0))])
        origin = np.clip(place - cells_per_speed * flow, 0, n)
        results.append(_sampled(field, origin, offset))
    return results[0], results[1]


def _sampled(field: Grid, place: Grid, offset: tuple[float, float]) -> Grid:
    """Interpolate a face field at positions in cells, (axis, ...)."""
    where = place - np.reshape(offset, (2, 1, 1))
    return np.asarray(ndimage.map_coordinates(field, where, order=1, mode="nearest"))


def _close(u: Grid, v: Grid, cells: NDArray[np.uint8], speed: float) -> None:
    """Give the faces of the walls and of the solid their velocity."""
    solid = cells == SOLID
    u[0] = u[-1] = v[:, 0] = 0
    u[1:-1][solid[1:] | solid[:-1]] = speed
    v[:, 1:-1][solid[:, 1:] | solid[:, :-1]] = 0


def _divergence(u: Grid, v: Grid, cells: NDArray[np.uint8]) -> Grid:
    """Return the outflow of each fluid cell, zero in the others."""
    return np.where(cells == FLUID, np.diff(u, axis=0) + np.diff(v, axis=1), 0.0)


def _project(u: Grid, v: Grid, cells: NDArray[np.uint8], pressure: Grid) -> None:
    """Subtract the pressure differences across faces between fluid and fluid or air."""
    is_open, fluid = cells != SOLID, cells == FLUID
    u[1:-1] -= np.where(is_open[1:] & is_open[:-1] & (fluid[1:] | fluid[:-1]), np.diff(pressure, axis=0), 0)
    faces = is_open[:, 1:] & is_open[:, :-1] & (fluid[:, 1:] | fluid[:, :-1])
    v[:, 1:-1] -= np.where(faces, np.diff(pressure, axis=1), 0)
    v[:, -1] = v[:, -2]


def _carried(smoke: Grid, u: Grid, v: Grid, cells: NDArray[np.uint8], cells_per_speed: float) -> tuple[Grid, float]:
    """Carry smoke by upwind fluxes through open faces, in parts of a step that empty no cell; return what left too."""
    is_open = cells != SOLID
    across = np.where(is_open[1:] & is_open[:-1], u[1:-1], 0) * cells_per_speed
    up = np.where(is_open[:, 1:] & is_open[:, :-1], v[:, 1:-1], 0) * cells_per_speed
    n_parts = int(np.ceil(4 * max(np.abs(across).max(), np.abs(up).max(), 0.25)))
    left = 0.0
    for _ in range(n_parts):
        flux_x = np.where(across > 0, smoke[:-1], smoke[1:]) * across / n_parts
        flux_y = np.where(up > 0, smoke[:, :-1], smoke[:, 1:]) * up / n_parts
        smoke = (
            smoke
            - np.diff(np.pad(flux_x, ((1, 1), (0, 0))), axis=0)
            - np.diff(np.pad(flux_y, ((0, 0), (1, 1))), axis=1)
        )
        gone = np.where(cells == AIR, smoke, 0.0)
        smoke, left = smoke - gone, left + float(gone.sum())
    return smoke, left


def _pushed_out(smoke: Grid, was: NDArray[np.uint8], cells: NDArray[np.uint8]) -> Grid:
    """Move the smoke of cells that the solid has just covered to the nearest fluid cells."""
    if np.array_equal(was, cells):
        return smoke
    nearest = ndimage.distance_transform_edt(cells != FLUID, return_distances=False, return_indices=True)
    covered = cells == SOLID
    moved = np.where(covered, 0.0, smoke)
    np.add.at(moved, tuple(nearest[:, covered]), smoke[covered])
    return moved
