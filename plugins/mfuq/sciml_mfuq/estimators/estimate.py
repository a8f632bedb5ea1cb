"""Unbiased estimates of a mean: plain Monte Carlo, and a surrogate as control variate.

Estimators over several models are planned by :mod:`sciml_mfuq.estimators.mfmc`, :mod:`sciml_mfuq.estimators.acv` and
:mod:`sciml_mfuq.estimators.mlblue`, and all of them are run by :class:`sciml_mfuq.estimators.groups.Plan`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from numpy.typing import ArrayLike

from sciml_mfuq.propagation.calls import Array, finite


@dataclass(frozen=True)
class Estimate:
    """An estimate and how sure it is.

    Parameters
    ----------
    value : the estimate.
    standard_error : of it, in the same unit.
    dof : degrees of freedom of the standard error; infinite where it is known.
    """

    value: float
    standard_error: float
    dof: float

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return both ends of the confidence interval by Student's t.

        Parameters
        ----------
        level
            Its probability.
        """
        half = float(scipy.stats.t.ppf((1 + level) / 2, self.dof)) * self.standard_error
        return self.value - half, self.value + half


def summed(value: float, variances: Sequence[float], dofs: Sequence[float]) -> Estimate:
    """Return an estimate whose variance is a sum of independent estimated terms.

    ``dof = (sum v_k)^2 / sum (v_k^2 / dof_k)``

    Parameters
    ----------
    value
        The estimate.
    variances, dofs
        Estimated variance of each term, and its degrees of freedom.

    *Source*: Welch, Biometrika 34 (1947); Satterthwaite, Biometrics Bulletin 2 (1946).
    """
    v, each = np.asarray(variances, dtype=np.float64), np.asarray(dofs, dtype=np.float64)
    spread = float((v**2 / each).sum())
    # where nothing varies there is nothing to share the degrees of freedom by
    dof = float(v.sum() ** 2 / spread) if spread > 0 else float(each.min())
    return Estimate(float(value), float(np.sqrt(v.sum())), dof)


def monte_carlo(values: ArrayLike) -> Estimate:
    """Return the mean of independent values; its standard error is their spread over the root of their number.

    Parameters
    ----------
    values : (n,)
        Outputs at independent random inputs.

    Examples
    --------
    >>> monte_carlo([1.0, 2.0, 3.0, 6.0])
    Estimate(value=3.0, standard_error=1.0801234497346435, dof=3)
    """
    y = finite(values, "monte_carlo")
    return Estimate(float(y.mean()), float(y.std(ddof=1) / np.sqrt(len(y))), len(y) - 1)


def control_variate(
    truth: ArrayLike, control: ArrayLike, control_mean: Estimate | float, coefficient: float | None = None
) -> Estimate:
    r"""Return the mean of the truth, corrected by how far a control missed its own mean on the same inputs.

    ``q = mean(y) - a (mean(c) - m)``, ``var q = s^2 (1/n + (mean(c) - m)^2 / S_cc) + a^2 var m``

    Parameters
    ----------
    truth, control : (n,)
        Outputs of the truth and of the control, such as a surrogate, at the same independent random inputs.
    control_mean
        Mean m of the control: a number where it is exact, else an `Estimate` made from inputs independent of these,
        such as `monte_carlo` of many surrogate values. Its error is one of the two terms of the variance: a surrogate
        is cheap, not free, and with its error left out the intervals are too short.
    coefficient
        The factor a; regressed from the same runs where it is left out.

    *Contract*: with a given coefficient the estimate is unbiased for any control, however wrong, if the control was not
    fitted to these runs. A regressed coefficient gives a bias of order 1/n and, with n - 2 degrees of freedom, the
    interval of the regression estimate (exact for normal outputs); use coefficient 1 with a good surrogate and n < 10.

    *Source*: Lavenberg and Welch, Management Science 27 (1981) (regression estimate with its interval).

    *Departures*: the estimated mean of the control adds a^2 var m; degrees of freedom by Welch and Satterthwaite.

    Examples
    --------
    >>> control_variate([1.0, 2.1, 2.9, 6.0], [1.0, 2.0, 3.0, 6.0], 2.5, coefficient=1.0).value
    2.5
    """
    y, c = finite(truth, "control_variate truth"), finite(control, "control_variate control")
    if len(y) != len(c):
        raise ValueError(f"control_variate: expected both models at the same inputs, got {len(y)} and {len(c)} values")
    m = control_mean if isinstance(control_mean, Estimate) else Estimate(float(control_mean), 0.0, np.inf)
    n, gap = len(y), float(c.mean() - m.value)
    if coefficient is not None:
        rest = monte_carlo(y - coefficient * c)
        terms = [rest.standard_error**2, (coefficient * m.standard_error) ** 2]
        return summed(y.mean() - coefficient * gap, terms, [rest.dof, m.dof])
    finite(y, "control_variate with a regressed coefficient", n_least=4)
    spread = float(((c - c.mean()) ** 2).sum())
    if spread <= 1e-26 * float((c**2).sum()):
        raise ValueError(
            f"control_variate: expected a control that varies, got {c[0]:g} at all inputs; use monte_carlo"
        )
    a = float((c - c.mean()) @ y) / spread
    rest_variance = float(((y - y.mean() - a * (c - c.mean())) ** 2).sum()) / (n - 2)
    terms = [rest_variance * (1 / n + gap**2 / spread), (a * m.standard_error) ** 2]
    return summed(y.mean() - a * gap, terms, [n - 2, m.dof])


def variance_terms(values: ArrayLike) -> Array:
    """Return numbers whose mean is the sample variance: estimates of a mean, applied to them, estimate the variance.

    ``v_i = n s^2 - (n - 1) s_{(i)}^2``, with s_{(i)}^2 the variance without value i

    Parameters
    ----------
    values : (n,) or (n, model)
        Outputs at independent random inputs.

    Returns
    -------
    As `values`.

    *Contract*: the mean is ``sum (y_i - mean)^2 / (n - 1)``, unbiased. The spread of the terms gives its jackknife
    standard error; the terms are independent up to order 1/n.

    *Source*: Miller, Biometrika 61 (1974) (pseudo-values).

    Examples
    --------
    >>> float(variance_terms([1.0, 2.0, 6.0]).mean())
    7.0
    """
    y = np.asarray(values, dtype=np.float64)
    n = len(y)
    if n < 3:
        raise ValueError(f"variance_terms: expected at least 3 values, got {n}; add runs")
    square = (y - y.mean(0)) ** 2
    total = square.sum(0)
    return n * total / (n - 1) - ((n - 1) * total - n * square) / (n - 2)
