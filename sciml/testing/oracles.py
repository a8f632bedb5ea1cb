"""Trainer oracles: deep linear networks whose path under gradient descent is known exactly."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.integrate import solve_ivp
from scipy.special import hyp2f1
from torch import Tensor, nn

from sciml.training import fit, seeded

FitLike = Callable[..., Iterable[Any]]
MODES = (3.0, 2.0, 1.0)  # singular values of the target map
ADVICE = "check the loss scale, stale or accumulated gradients, momentum, weight decay and the learning rate"


@dataclass(frozen=True)
class TrainerReport:
    """What gradient descent did on a network of `n_layers` layers.

    `errors` are the largest distances of a singular value to the gradient flow at the step size and at half of it,
    `ratio` the first over the second, `recurrence_error` the largest distance to the exact recurrence of gradient
    descent, and `half_time_error` the relative error of the time at which the slowest mode is half learned.
    """

    n_layers: int
    errors: tuple[float, float]
    ratio: float
    recurrence_error: float
    half_time_error: float


def time_to_reach(u: float, s: float, start: float, n_layers: int) -> float:
    r"""Return the time that the gradient flow takes from singular value `start` to `u` < `s`, for L = `n_layers`.

    With a = u^(1/L), da/dt = a^(L-1) (s - a^L), hence for L = 2: t = ln[u (s - u0) / (u0 (s - u))] / (2 s), and for
    L > 2: t = T(u) - T(u0), T(u) = a^2 F(1, 2/L; 1 + 2/L; u/s) / (2 s^2) - a^(2-L) / ((L - 2) s).

    Source: Saxe, McClelland, Ganguli, arXiv 1312.6120, for L = 2 and the scalar equation; the quadrature is ours.
    """
    if n_layers == 2:
        return float(np.log(u * (s - start) / (start * (s - u))) / (2 * s))

    def antiderivative(u: float) -> float:
        a, b = u ** (1 / n_layers), 2 / n_layers
        return float(a**2 * hyp2f1(1, b, 1 + b, u / s) / (2 * s**2) - a ** (2 - n_layers) / ((n_layers - 2) * s))

    return antiderivative(u) - antiderivative(start)


def singular_value(times: np.ndarray, s: float, start: float, n_layers: int) -> np.ndarray:
    """Return the singular value u (time) of the gradient flow, du/dt = L u^(2 - 2/L) (s - u), u(0) = `start`.

    For L = 2 it is s e^(2 s t) / (e^(2 s t) - 1 + s / u0); otherwise the scalar equation is integrated to 1e-12.
    """
    if n_layers == 2:
        return s / (1 + (s / start - 1) * np.exp(-2 * s * times))
    span, first = (0, times[-1]), [start ** (1 / n_layers)]
    solution = solve_ivp(lambda t, a: a ** (n_layers - 1) * (s - a**n_layers), span, first,
                         method="DOP853", t_eval=times, rtol=1e-12, atol=1e-14)  # fmt: skip
    return np.asarray(solution.y[0] ** n_layers)


class DeepLinear(nn.Module):
    """The product W_L ... W_1 with balanced, aligned factors: W_l = R_l diag(u0)^(1/L) R_(l-1)^T with orthogonal R_l.

    Departures: none; any orthogonal R_l give the same singular values, and these are drawn to mix all entries.
    """

    def __init__(self, n_layers: int, start: float, seed: int) -> None:
        super().__init__()
        size = len(MODES)
        draws = torch.randn(n_layers + 1, size, size, generator=seeded("deep linear", seed), dtype=torch.float64)
        self.frames = torch.linalg.qr(draws)[0]
        factor = start ** (1 / n_layers)
        self.weights = nn.ParameterList(factor * b @ a.mT for a, b in zip(self.frames, self.frames[1:], strict=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return x (sample, feature) mapped through all layers."""
        for weight in self.weights:
            x = x @ weight.mT
        return x

    def modes(self) -> np.ndarray:
        """Return the strength of every mode of the target in the product of the layers, shape (mode,)."""
        with torch.no_grad():
            return torch.diagonal(self.frames[-1].mT @ self(self.frames[0].mT).mT).numpy().copy()


def path(fit_like: FitLike, n_layers: int, start: float, step: float, n_steps: int, seed: int = 7) -> np.ndarray:
    """Return the modes (step, mode) that plain gradient descent takes through the trainer, at the start and each step.

    The loss is |f(X) - X S^T|^2 / (2 n) over n samples whose covariance X^T X / n is the identity.
    """
    net = DeepLinear(n_layers, start, seed)
    n_samples = 2 * len(MODES)
    draws = torch.randn(n_samples, len(MODES), generator=seeded("whitened", seed), dtype=torch.float64)
    x = torch.linalg.qr(draws)[0] * n_samples**0.5
    y = x @ net.frames[0] @ torch.diag(torch.tensor(MODES, dtype=torch.float64)) @ net.frames[-1].mT

    def loss(module: nn.Module, generator: torch.Generator) -> Tensor:
        return ((module(x) - y) ** 2).sum() / (2 * n_samples)

    optimizer = torch.optim.SGD(net.parameters(), lr=step)
    taken = [net.modes(), *(net.modes() for _ in fit_like(net, loss, optimizer, n_steps=n_steps, seed=seed))]
    if len(taken) != n_steps + 1:
        raise AssertionError(f"trainer oracle: expected {n_steps} states, one a step, got {len(taken) - 1}; "
                             "yield a state after every step")  # fmt: skip
    return np.array(taken)


def measure_trainer(fit_like: FitLike, n_layers: int, *, start: float = 0.05, step: float = 0.004) -> TrainerReport:
    """Return how gradient descent through `fit_like` compares with the flow and with the exact recurrence.

    Balanced layers stay balanced, so descent is a <- a + h a^(L-1) (s - a^L) for every mode u = a^L: an Euler step of
    the flow, whose error is C h + O(h^2).
    """
    half = time_to_reach(MODES[-1] / 2, MODES[-1], start, n_layers)
    n_steps = int(np.ceil(1.5 * half / step))
    coarse, fine = (path(fit_like, n_layers, start, step / k, n_steps * k) for k in (1, 2))
    errors = tuple(_flow_error(taken, n_layers, start, step * n_steps) for taken in (coarse, fine))
    s, a = np.array(MODES), np.full(len(MODES), start ** (1 / n_layers))
    recurrence = [a]
    for _ in range(n_steps):
        recurrence.append(recurrence[-1] + step * recurrence[-1] ** (n_layers - 1) * (s - recurrence[-1] ** n_layers))
    distance = float(np.abs(coarse - np.array(recurrence) ** n_layers).max())
    ratio = errors[0] / errors[1] if errors[1] else np.nan
    late = _half_time(fine[:, -1], step / 2) / half - 1
    return TrainerReport(n_layers, (errors[0], errors[1]), float(ratio), distance, float(abs(late)))


def _flow_error(taken: np.ndarray, n_layers: int, start: float, end: float) -> float:
    times = np.linspace(0, end, len(taken))
    flow = np.stack([singular_value(times, s, start, n_layers) for s in MODES], axis=1)
    return float(np.abs(taken - flow).max())


def _half_time(mode: np.ndarray, step: float) -> float:
    after = np.flatnonzero(mode >= MODES[-1] / 2)
    if not len(after) or after[0] == 0:
        return np.inf
    k = after[0]
    return float(step * (k - (mode[k] - MODES[-1] / 2) / (mode[k] - mode[k - 1])))


def check_trainer(fit_like: FitLike = fit, n_layers: Sequence[int] = (2, 3, 5)) -> list[TrainerReport]:
    """Raise an AssertionError unless plain gradient descent through `fit_like` follows its exact solution.

    Parameters
    ----------
    fit_like : called as ``fit_like(module, loss, optimizer, n_steps=, seed=)``; yields once after each step.

    Contract: modes follow the recurrence of gradient descent to 1e-9; their distance to the gradient flow divides by
    2.00 +- 0.02 when the step is halved; the time to half is within 1% of the flow's.
    """
    reports = [measure_trainer(fit_like, count) for count in n_layers]
    for report in reports:
        here = f"trainer oracle, L = {report.n_layers}"
        if not abs(report.ratio - 2) <= 0.02:
            raise AssertionError(f"{here}: expected the error to divide by 2.00 +- 0.02 when the step is halved, "
                                 f"got {report.ratio:.3f} from {report.errors}; {ADVICE}")  # fmt: skip
        if not report.recurrence_error <= 1e-9:
            raise AssertionError(f"{here}: expected a <- a + h a^(L-1) (s - a^L) to 1e-9, got a distance of "
                                 f"{report.recurrence_error:.2e}; {ADVICE}")  # fmt: skip
        if not report.half_time_error <= 0.01:
            raise AssertionError(f"{here}: expected the time to half within 1% of the gradient flow, got "
                                 f"{100 * report.half_time_error:.2f}% off; {ADVICE}")  # fmt: skip
    return reports


def check_depth(fit_like: FitLike = fit, n_layers: Sequence[int] = (5, 20, 50), start: float = 0.2) -> dict[int, float]:
    """Raise an AssertionError unless balanced stacks of any depth reach half in the flow's time; return the errors.

    The learning rate is proportional to 1 / L, as the flow's speed is to L.
    """
    errors = {}
    for count in n_layers:
        half = time_to_reach(MODES[-1] / 2, MODES[-1], start, count)
        step = 0.01 / count
        taken = path(fit_like, count, start, step, int(np.ceil(1.1 * half / step)))
        errors[count] = abs(_half_time(taken[:, -1], step) / half - 1)
        if not errors[count] <= 0.01:
            raise AssertionError(f"trainer oracle, L = {count}: expected the time to half within 1% of {half:.4f}, "
                                 f"got {100 * errors[count]:.2f}% off; {ADVICE}")  # fmt: skip
    return errors
