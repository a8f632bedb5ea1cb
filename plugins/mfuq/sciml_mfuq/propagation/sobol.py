"""Variance-based sensitivity: first-order and total Sobol indices, with sampling and surrogate errors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import scipy.stats
import xarray as xr
from scipy.special import ndtri

from sciml_mfuq.propagation.calls import Array, Predict, call
from sciml_mfuq.propagation.laws import Law, uniform_batches

N_FIELDS = 32
N_WAVES = 64
N_ROWS = 2**11
"""Of A and B, the first ones, on which error fields are tried."""
LENGTHS = (0.5, 4.0)
"""Correlation lengths of the error fields, in standard deviations of the normal scores of an input."""


@dataclass(frozen=True)
class Index:
    """One kind of Sobol index of every input; all arrays (feature,).

    Parameters
    ----------
    value : the estimate; it may fall outside [0, 1] by its error.
    sampling : standard error by the finite sample.
    surrogate : standard error by the surrogate; 0 where the model tells none.
    """

    value: Array
    sampling: Array
    surrogate: Array

    @property
    def standard_error(self) -> Array:
        """Root of the sum of squares of both terms."""
        return np.hypot(self.sampling, self.surrogate)

    def interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """Return both ends of the normal confidence interval.

        Parameters
        ----------
        level
            Its probability.
        """
        half = scipy.stats.norm.ppf((1 + level) / 2) * self.standard_error
        return self.value - half, self.value + half


@dataclass(frozen=True)
class SobolIndices:
    """First-order and total indices.

    Parameters
    ----------
    names : of the inputs.
    first : share of the variance that knowing one input alone removes.
    total : share that stays while all other inputs are known.
    n, seed : of the sample; the model was run n (feature + 2) times.
    """

    names: tuple[str, ...]
    first: Index
    total: Index
    n: int
    seed: int

    def to_xarray(self) -> xr.Dataset:
        """Return `first` and `total` along `input`, and their errors along `error`: sampling, surrogate, total."""
        variables: dict[str, tuple[tuple[str, ...], Array, dict[str, str]]] = {}
        for name, index in (("first", self.first), ("total", self.total)):
            errors = np.stack([index.sampling, index.surrogate, index.standard_error], -1)
            variables[name] = (("input",), index.value, {"units": "1"})
            variables[f"{name}_error"] = (("input", "error"), errors, {"units": "1"})
        coords = {"input": list(self.names), "error": ["sampling", "surrogate", "total"]}
        return xr.Dataset(variables, coords, {"n": self.n, "seed": self.seed})


def sobol_indices(predict: Predict, law: Law, n: int = 2**14, *, seed: int, n_bootstrap: int = 200) -> SobolIndices:
    r"""Estimate the Sobol indices of all inputs of a model.

    ``S_i = mean f_B (f_{AB_i} - f_A) / V``, ``T_i = mean (f_A - f_{AB_i})^2 / (2 V)``; AB_i is A with column i of B

    Parameters
    ----------
    predict
        Points (n, feature) to values (n,), or to values and standard errors.
    law
        Of the inputs; independent.
    n
        Rows of A and of B; rounded up to a power of two.
    seed
        Of the sample, of the bootstrap and of the error fields.
    n_bootstrap
        Resamples of rows. They treat quasi-random rows as independent, so the sampling error comes out too large.

    *Contract*: n (feature + 2) runs of the model, in calls of n points.

    *Source*: Saltelli et al., Comput. Phys. Commun. 181 (2010), table 2, rows (b) and (f) (Jansen).

    *Departures*: outputs are centred by the mean over A and B. Where the model tells standard errors s(x), the indices
    are computed again for N_FIELDS realisations f + s e, where e is a random Fourier field of variance one in the
    normal scores of the inputs, its correlation lengths drawn from LENGTHS for each input; the surrogate term is the
    root mean square change. The true correlation of the errors is unknown: errors of shorter length raise the total
    indices by more, errors of longer length change less.

    Examples
    --------
    >>> law = Law.uniform([[0, 1], [0, 1]])
    >>> sobol_indices(lambda x: x[:, 0] + 2 * x[:, 1], law, 2**10, seed=3).first.value.round(2)
    array([0.2, 0.8])
    """
    if not law.independent:
        raise ValueError(
            "sobol_indices: expected independent inputs, got a correlated law; the variance of a model of correlated "
            "inputs does not split into such shares, so name groups of inputs that are independent of one another"
        )
    if n < 2 or n_bootstrap < 2:
        raise ValueError(
            f"sobol_indices: expected n and n_bootstrap of 2 or more, got {n} and {n_bootstrap}; ask for more"
        )
    n = 2 ** int(n - 1).bit_length()
    d = law.n_features
    u = np.concatenate(list(uniform_batches(n, 2 * d, seed, "sobol", n)))
    a, b = law.from_uniform(u[:, :d]), law.from_uniform(u[:, d:])
    called = [call(predict, x, "sobol_indices") for x in (a, b, *(_mixed(a, b, i) for i in range(d)))]
    f = np.stack([mean for mean, _ in called])
    if f[:2].std() <= 1e-13 * np.abs(f[:2]).max():
        got = f"{f.flat[0]:g} at all points"
        raise ValueError(f"sobol_indices: expected outputs that vary with the inputs, got {got}; check model and law")
    value, generator = np.stack(_indices(f)), np.random.default_rng([seed, 1])
    weights = (generator.multinomial(n, np.full(n, 1 / n)) / n for _ in range(n_bootstrap))
    sampling = np.std([_indices(f, w) for w in weights], axis=0, ddof=1)
    surrogate = np.zeros_like(value)
    known = [std for _, std in called if std is not None]
    if known:
        few, s, scores = f[:, :N_ROWS], np.stack(known)[:, :N_ROWS], ndtri(u[:N_ROWS])
        moved = [_indices(few + s * _error_field(scores[:, :d], scores[:, d:], generator)) for _ in range(N_FIELDS)]
        surrogate = np.sqrt(((np.array(moved) - np.stack(_indices(few))) ** 2).mean(0))
    first, total = (Index(*columns) for columns in zip(value, sampling, surrogate, strict=True))
    return SobolIndices(law.names, first, total, n, seed)


def _mixed(a: Array, b: Array, column: int) -> Array:
    x = a.copy()
    x[:, column] = b[:, column]
    return x


def _indices(f: Array, weights: Array | None = None) -> tuple[Array, Array]:
    """Return both indices (feature,) from outputs (feature + 2, n) at A, B, AB_i; weights of the rows sum to 1."""
    w = np.full(f.shape[1], 1 / f.shape[1]) if weights is None else weights
    f = f - (f[:2] @ w).mean()
    variance = (f[:2] ** 2 @ w).mean()
    step = f[2:] - f[0]
    return step @ (w * f[1]) / variance, step**2 @ w / (2 * variance)


def _error_field(a: Array, b: Array, generator: np.random.Generator) -> Array:
    """Return one random field of variance one at the normal scores A, B and AB_i, (feature + 2, n)."""
    d = a.shape[1]
    lengths = np.exp(generator.uniform(np.log(LENGTHS[0]), np.log(LENGTHS[1]), d))
    waves = generator.standard_normal((N_WAVES, d)) / lengths
    phases = generator.uniform(0, 2 * np.pi, N_WAVES)
    at_a, at_b = a @ waves.T + phases, b @ waves.T + phases
    steps = (at_a + (b[:, [i]] - a[:, [i]]) * waves[:, i] for i in range(d))
    return np.stack([np.cos(phase).sum(1) for phase in (at_a, at_b, *steps)]) * np.sqrt(2 / N_WAVES)
