"""Runs of simulators of several fidelities: what every engine is fitted to, checked once and for all."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Level:
    """Runs of one simulator.

    Parameters
    ----------
    name : of the simulator.
    x : (run, feature), its own inputs, raw units.
    y : (run,) or (run, location), what it returned; runs that hold a NaN are left out by `Samples`.
    cost : of one run, in any unit that all levels share.
    noise : known standard deviation of `y`, one number or (run,); None where the simulator repeats itself exactly.
    columns : which inputs of the truth, by number, this simulator sees; all of them where it is left out.
    """

    name: str
    x: Array
    y: Array
    cost: float = 1.0
    noise: float | Array | None = None
    columns: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        x, y = np.asarray(self.x, dtype=np.float64), np.asarray(self.y, dtype=np.float64)
        where = f"level {self.name!r}"
        if x.ndim != 2 or y.ndim not in (1, 2) or len(x) != len(y):
            raise ValueError(
                f"{where}: expected x of shape (run, feature) and y of shape (run,) or (run, location), got "
                f"{x.shape} and {y.shape}; reshape them"
            )
        if not np.isfinite(x).all():
            raise ValueError(f"{where}: expected finite inputs, got NaN or infinity; drop these runs")
        if not self.cost > 0:
            raise ValueError(f"{where}: expected a positive cost, got {self.cost}; any unit will do")
        if self.noise is not None and not bool(np.all(np.asarray(self.noise) >= 0)):
            raise ValueError(f"{where}: expected noise >= 0, got {self.noise}; it is a standard deviation")
        if self.columns is not None and len(self.columns) != x.shape[1]:
            raise ValueError(f"{where}: expected a column for each of {x.shape[1]} inputs, got {self.columns}; count")
        object.__setattr__(self, "x", x)
        object.__setattr__(self, "y", y)

    def kept(self, mask: NDArray[np.bool_]) -> Level:
        """Return the level with the runs where the mask (run,) holds."""
        noise = self.noise[mask] if isinstance(self.noise, np.ndarray) and self.noise.ndim else self.noise
        return replace(self, x=self.x[mask], y=self.y[mask], noise=noise)

    def seen(self, x: Array) -> Array:
        """Return the inputs that this simulator sees of points (n, feature) of the truth."""
        return x if self.columns is None else x[:, list(self.columns)]


@dataclass(frozen=True)
class Samples:
    """Runs of all levels, from the cheapest to the truth, which comes last.

    Levels need not be nested, and may see fewer inputs than the truth. What is wrong with the runs but can be mended is
    mended and told in `notes`: runs with NaN are left out, equal runs are merged, empty levels below the truth are
    dropped, repeated points with different values make the level count as noisy.

    Parameters
    ----------
    levels : from the cheapest to the truth.
    bounds : (feature, 2), the box in which the truth is wanted.
    notes : sentences for the report.

    Examples
    --------
    >>> low = Level("low", np.array([[0.0], [0.5], [1.0]]), np.array([0.0, np.nan, 2.0]))
    >>> high = Level("high", np.array([[0.0], [1.0]]), np.array([0.1, 2.1]), cost=10.0)
    >>> samples = Samples((low, high), np.array([[0.0, 1.0]]))
    >>> len(samples.levels[0].x), samples.notes[0]
    (2, "level 'low': 1 of 3 runs returned NaN and was left out")
    """

    levels: tuple[Level, ...]
    bounds: Array
    notes: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        bounds = np.asarray(self.bounds, dtype=np.float64)
        if bounds.ndim != 2 or bounds.shape[1] != 2 or not (bounds[:, 0] < bounds[:, 1]).all():
            raise ValueError(f"Samples: expected bounds (feature, 2) with low < high, got {bounds.tolist()}; swap them")
        if not self.levels:
            raise ValueError("Samples: expected at least one level, got none; the last one is the truth")
        notes, levels = list(self.notes), []
        for number, level in enumerate(self.levels):
            is_truth = number == len(self.levels) - 1
            cleaned = _cleaned(level, notes)
            _check(cleaned, bounds, is_truth)
            if len(cleaned.x):
                levels.append(cleaned)
            else:
                notes.append(f"level {level.name!r}: it has no run and was dropped")
        if len(levels[-1].x) < 4:
            notes.append(f"level {levels[-1].name!r}: only {len(levels[-1].x)} runs; the intervals rest on assumptions")
        object.__setattr__(self, "bounds", bounds)
        object.__setattr__(self, "levels", tuple(levels))
        object.__setattr__(self, "notes", tuple(dict.fromkeys(notes)))

    @property
    def truth(self) -> Level:
        """The costly level, whose outputs are wanted."""
        return self.levels[-1]

    @property
    def n_feature(self) -> int:
        """How many inputs the truth has."""
        return len(self.bounds)

    @property
    def cost(self) -> float:
        """What all the runs cost together."""
        return float(sum(level.cost * len(level.x) for level in self.levels))

    def unit(self, x: Array) -> Array:
        """Map points (n, feature) from the bounds to the unit box."""
        return (x - self.bounds[:, 0]) / (self.bounds[:, 1] - self.bounds[:, 0])

    def truth_only(self) -> Samples:
        """Return the samples without the cheap levels."""
        return replace(self, levels=(self.truth,))

    def output(self, location: int) -> Samples:
        """Return the samples of one location of a field output."""
        return replace(self, levels=tuple(replace(level, y=level.y[:, location]) for level in self.levels))

    def truth_kept(self, mask: NDArray[np.bool_]) -> Samples:
        """Return the samples with the runs of the truth where the mask (run,) holds; the cheap ones stay."""
        return replace(self, levels=(*self.levels[:-1], self.truth.kept(mask)))


def _cleaned(level: Level, notes: list[str]) -> Level:
    missing: NDArray[np.bool_] = np.asarray(~np.isfinite(_columns(level.y)).all(1))
    if missing.any():
        n = int(missing.sum())
        notes.append(f"level {level.name!r}: {n} of {len(missing)} runs returned NaN and {_was(n)} left out")
        level = level.kept(~missing)
    _, first, group = np.unique(level.x, axis=0, return_index=True, return_inverse=True)
    if len(first) == len(level.x):
        return level
    differs = ~np.isclose(level.y, level.y[first][group.ravel()], rtol=1e-12, atol=0)
    if not differs.any():
        n = len(level.x) - len(first)
        notes.append(f"level {level.name!r}: {n} repeated {'run' if n == 1 else 'runs'} {_was(n)} merged")
        return level.kept(np.isin(np.arange(len(level.x)), first))
    if level.noise is None:
        counts = np.bincount(group.ravel())
        total = np.stack([np.bincount(group.ravel(), column) for column in _columns(level.y).T], 1)
        rest = _columns(level.y) - (total / counts[:, None])[group.ravel()]
        noise = float(np.sqrt((rest**2).sum() / max(1, (len(level.x) - len(first)) * rest.shape[1])))
        notes.append(
            f"level {level.name!r}: repeated points have different values; it counts as noisy with the standard "
            f"deviation {noise:.3g} found there"
        )
        return replace(level, noise=noise)
    return level


def _check(level: Level, bounds: Array, is_truth: bool) -> None:
    where = f"level {level.name!r}"
    if is_truth and len(level.x) < 2:
        raise ValueError(
            f"{where}: expected at least two runs of the truth that returned numbers, got {len(level.x)}; run more"
        )
    n_input = len(bounds) if level.columns is None else len(level.columns)
    if level.x.shape[1] != n_input or (is_truth and level.columns is not None):
        raise ValueError(
            f"{where}: expected {len(bounds)} inputs as bounds has rows, got {level.x.shape[1]}; a cheap level that "
            "sees fewer says which by columns"
        )
    box = bounds if level.columns is None else bounds[list(level.columns)]
    slack = 1e-9 * (box[:, 1] - box[:, 0])
    outside = ((level.x < box[:, 0] - slack) | (level.x > box[:, 1] + slack)).any(1)
    if is_truth and outside.any():
        raise ValueError(
            f"{where}: expected inputs within the bounds, got {int(outside.sum())} runs outside, such as "
            f"{level.x[outside][0].tolist()}; widen the bounds or drop these runs"
        )


def _columns(y: Array) -> Array:
    return y[:, None] if y.ndim == 1 else y


def _was(n: int) -> str:
    return "was" if n == 1 else "were"
