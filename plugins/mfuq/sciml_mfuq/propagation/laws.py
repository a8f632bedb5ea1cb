"""The law of the random inputs: any distribution for each, independent or joined by a Gaussian copula."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, get_args

import numpy as np
import scipy.linalg
from scipy.special import ndtr, ndtri
from scipy.stats import qmc

from sciml_mfuq.propagation.calls import Array

Method: TypeAlias = Literal["sobol", "lhs", "random"]
Seed: TypeAlias = int | Sequence[int]
SOBOL_BITS = 30
"""Digits of a Sobol point; half of the last one is added, so that no point is 0, where a quantile may be infinite."""


@dataclass(frozen=True)
class Law:
    r"""The joint law of named inputs.

    ``x_i = F_i^{-1}(Phi(z_i)), z ~ N(0, R)``; independent where R is the identity or left out.

    Parameters
    ----------
    marginals
        Name to frozen distribution of scipy.stats, such as ``scipy.stats.uniform(0, 1)``; they fix the order of the
        inputs.
    correlation : (feature, feature), optional
        Correlation R of the normal scores z; symmetric, positive definite, ones on the diagonal. The correlation of
        the inputs themselves is another one, and smaller in size, where a marginal is not normal.
    units
        Name to unit; 1 where left out.

    *Contract*: every marginal is exact whatever the correlation; the same seed gives the same points.

    *Source*: Lebrun and Dutfoy, Probabilistic Engineering Mechanics 24 (2009) (the Nataf transformation as
    a Gaussian copula).

    Examples
    --------
    >>> import scipy.stats
    >>> law = Law({"speed": scipy.stats.uniform(10, 5), "angle": scipy.stats.norm(2, 0.1)})
    >>> law.sample(256, seed=3).shape
    (256, 2)
    """

    marginals: Mapping[str, Any]
    correlation: Array | None = None
    units: Mapping[str, str] = field(default_factory=dict)
    _factor: Array | None = field(init=False, repr=False, compare=False, default=None)

    def __post_init__(self) -> None:
        if not self.marginals:
            raise ValueError("Law: expected a distribution for each input, got none; give name: scipy.stats.norm(0, 1)")
        for name, marginal in self.marginals.items():
            if not callable(getattr(marginal, "ppf", None)) or not hasattr(marginal, "args"):
                got = type(marginal).__name__
                raise ValueError(
                    f"Law {name!r}: expected a frozen distribution, got {got}; scipy.stats.norm(0, 1) is one"
                )
            if not np.isfinite(marginal.ppf(0.5)):
                raise ValueError(
                    f"Law {name!r}: expected a finite median, got {marginal.ppf(0.5)}; check the parameters"
                )
        if unknown := set(self.units) - set(self.marginals):
            raise ValueError(f"Law: expected units of {self.names}, got some of {sorted(unknown)}; use these names")
        object.__setattr__(self, "marginals", dict(self.marginals))
        if self.correlation is not None:
            object.__setattr__(self, "correlation", np.array(self.correlation, dtype=np.float64))
            object.__setattr__(self, "_factor", _cholesky(self.correlation, len(self.marginals)))

    @classmethod
    def uniform(cls, bounds: Array, names: tuple[str, ...] = (), units: Mapping[str, str] | None = None) -> Law:
        """Return independent uniform inputs.

        Parameters
        ----------
        bounds : (feature, 2)
            Lowest and highest value of each.
        names
            x1, x2, ... where left out.
        units
            Name to unit.
        """
        from scipy.stats import uniform

        low, high = np.asarray(bounds, dtype=np.float64).reshape(-1, 2).T
        if not (low < high).all():
            raise ValueError(f"Law.uniform: expected low < high for each input, got {np.asarray(bounds)}; swap them")
        names = names or tuple(f"x{i}" for i in range(1, len(low) + 1))
        pairs = zip(names, low, high, strict=True)
        return cls({name: uniform(a, b - a) for name, a, b in pairs}, units=units or {})

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the inputs in order."""
        return tuple(self.marginals)

    @property
    def n_features(self) -> int:
        """How many inputs there are."""
        return len(self.marginals)

    @property
    def independent(self) -> bool:
        """Whether no two inputs are correlated."""
        return self._factor is None or np.array_equal(self._factor, np.eye(self.n_features))

    def from_uniform(self, u: Array) -> Array:
        """Map points of the open unit box to inputs, both (..., feature).

        Parameters
        ----------
        u : (..., feature)
            Between 0 and 1, ends excluded.
        """
        u = np.asarray(u, dtype=np.float64)
        if u.shape[-1:] != (self.n_features,) or not ((u > 0) & (u < 1)).all():
            expected = f"points (..., {self.n_features}) with 0 < u < 1"
            raise ValueError(
                f"Law.from_uniform: expected {expected}, got shape {u.shape} or points outside; rescale them"
            )
        if self._factor is not None and not self.independent:
            u = ndtr(ndtri(u) @ self._factor.T)
            u = np.clip(u, 2.0**-1000, 1 - 2.0**-53)  # ndtr reaches 1 beyond 8 standard deviations
        columns = zip(self.marginals.values(), np.moveaxis(u, -1, 0), strict=True)
        return np.stack([np.asarray(marginal.ppf(column), dtype=np.float64) for marginal, column in columns], -1)

    def sample(self, n: int, seed: Seed, method: Method = "sobol") -> Array:
        """Return n points, (n, feature).

        Parameters
        ----------
        n
            How many. A Sobol sample is balanced, and its error of higher order, where n is a power of two; any other n
            is the beginning of the next one, still unbiased.
        seed
            Of the scrambling or of the draws.
        method
            "sobol": scrambled Sobol sequence (Owen's bound for the variance holds); "lhs": Latin hypercube; "random":
            independent draws.
        """
        return np.concatenate(list(self.batches(n, seed, method, size=max(n, 1))))

    def batches(self, n: int, seed: Seed, method: Method = "sobol", size: int = 2**14) -> Iterator[Array]:
        """Yield the n points of a sample in batches, so that they are never held together.

        Parameters
        ----------
        n
            How many points in all.
        seed, method
            As for `sample`.
        size
            Largest batch. A Latin hypercube is one per batch: its strata are those of `size` points.
        """
        yield from (self.from_uniform(u) for u in uniform_batches(n, self.n_features, seed, method, size))


def uniform_batches(n: int, n_dims: int, seed: Seed, method: Method = "sobol", size: int = 2**14) -> Iterator[Array]:
    """Yield n points of the open unit box in batches (at most size, n_dims).

    Parameters
    ----------
    n, n_dims
        Points in all, and coordinates of each.
    seed, method, size
        As for `Law.batches`.
    """
    if method not in get_args(Method):
        raise ValueError(f"sample: expected method one of {', '.join(get_args(Method))}, got {method!r}; choose one")
    if n < 1 or size < 1:
        raise ValueError(f"sample: expected at least one point, got n = {n} in batches of {size}; ask for more")
    generator = np.random.default_rng(seed)
    # the whole sequence is cut into powers of two, of which none is out of balance by itself
    step = 2 ** (size.bit_length() - 1) if method == "sobol" and n > size else size
    engine = qmc.Sobol(n_dims, bits=SOBOL_BITS, rng=generator) if method == "sobol" else None
    for start in range(0, n, step):
        m = min(step, n - start)
        if engine is not None:
            rounded = 2 ** (m - 1).bit_length() if start == 0 else m
            yield engine.random(rounded)[:m] + 2.0 ** -(SOBOL_BITS + 1)
        elif method == "lhs":
            yield _open(qmc.LatinHypercube(n_dims, rng=generator).random(m))
        else:
            yield _open(generator.random((m, n_dims)))


def _open(u: Array) -> Array:
    return np.clip(u, 2.0**-54, 1 - 2.0**-53)


def _cholesky(correlation: Any, n_dims: int) -> Array:
    """Return the Cholesky factor, or say what is wrong with the matrix."""
    matrix = np.asarray(correlation, dtype=np.float64)
    if matrix.shape != (n_dims, n_dims) or not np.isfinite(matrix).all():
        raise ValueError(
            f"Law correlation: expected finite ({n_dims}, {n_dims}), got {matrix.shape}; one row per input"
        )
    if np.abs(matrix - matrix.T).max() > 1e-12 or np.abs(np.diag(matrix) - 1).max() > 1e-12:
        raise ValueError("Law correlation: expected a symmetric matrix with ones on the diagonal, got another; fix it")
    smallest = float(scipy.linalg.eigvalsh(matrix)[0])
    if smallest < 1e-12:
        raise ValueError(
            f"Law correlation: expected a positive definite matrix, got the eigenvalue {smallest:.3g}; lower the "
            "correlations, or drop an input that the others fix"
        )
    return np.asarray(np.linalg.cholesky(matrix), dtype=np.float64)
