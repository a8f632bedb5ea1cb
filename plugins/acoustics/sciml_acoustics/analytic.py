"""Exact sound fields: rigid segment and rectangle by modes, the 1-D impedance tube by images."""

from __future__ import annotations

import math

import numpy as np
from numpy.polynomial import legendre
from numpy.typing import ArrayLike, NDArray
from scipy.special import erf

from sciml_acoustics.geometry import Room

Array = NDArray[np.float64]


def reflection_coefficient(xi: ArrayLike, angle: ArrayLike = 0.0) -> Array:
    """Pressure reflection ``R = (xi cos(angle) - 1) / (xi cos(angle) + 1)`` of a plane wave; xi = inf gives 1.

    Parameters
    ----------
    xi : normalised specific impedance Z / (rho c).
    angle : angle of incidence from the wall's normal, rad.
    """
    admittance = 1.0 / (np.asarray(xi, float) * np.cos(np.asarray(angle, float)))
    return np.asarray((1.0 - admittance) / (1.0 + admittance))


def rigid_eigenfrequencies(lengths: ArrayLike, n: int, c: float = 343.0) -> Array:
    """The ``n`` lowest eigenfrequencies (n,), Hz, of a rigid segment or box, 0 Hz first.

    ``f = (c / 2) sqrt(sum_a (m_a / L_a)^2)``, ``m_a = 0, 1, 2, ...``
    """
    sides = np.atleast_1d(np.asarray(lengths, float))
    # The first n modes along the longest axis alone are n candidates: nothing above the n-th of them is needed.
    counts = [int(np.ceil((n - 1) * side / sides.max())) + 1 for side in sides]
    orders = np.stack(np.meshgrid(*[np.arange(k + 1) for k in counts], indexing="ij"), axis=-1).reshape(-1, len(sides))
    return np.asarray(np.sort(0.5 * c * np.linalg.norm(orders / sides, axis=1))[:n])


def rigid_modal_sum(
    room: Room,
    source_position: ArrayLike,
    points: ArrayLike,
    times: ArrayLike,
    sigma0: float,
    c: float = 343.0,
    amplitude: float = 1.0,
) -> Array:
    """Exact pressure (S, T, N), Pa, of Gaussian pulses at rest in a rigid segment or rectangle.

    ``p = sum_m a_m prod_a cos(k_ma x_a) cos(c |k_m| t)``, ``k_ma = pi m_a / L_a``, with the Gauss-cosine integrals
    over the finite room by Gauss-Legendre quadrature. All modes above ``1e-13`` are kept; a source closer than
    ``5.5 sigma0`` to a wall starts with a kink there, and its tail of modes is cut at four times that number.

    Parameters
    ----------
    room : one box. source_position : (S, d), m. points : (N, d), m. times : (T,), s. sigma0 : m. c : m/s.
    """
    if len(room.boxes) != 1:
        raise ValueError(
            f"rigid_modal_sum: expected a room of one box, got {room.name!r} with {len(room.boxes)}; use the solver"
        )
    lo, hi = (np.array(corner) for corner in room.boxes[0])
    sources, where = np.asarray(source_position, float) - lo, np.asarray(points, float) - lo
    moments = [_gauss_cosine(sources[:, a], side, sigma0) for a, side in enumerate(hi - lo)]
    orders = [np.arange(m.shape[1]) * math.pi / side for m, side in zip(moments, hi - lo, strict=True)]
    if room.n_axis == 1:
        moments, orders = [*moments, np.ones((len(sources), 1))], [*orders, np.zeros(1)]
        where = np.column_stack([where, np.zeros(len(where))])
    # Mesh nodes repeat their first coordinate: one product per distinct value, not per node.
    distinct, back = np.unique(np.round(where[:, 0], 12), return_inverse=True)
    shape_x, shape_y = np.cos(np.outer(distinct, orders[0])), np.cos(np.outer(where[:, 1], orders[1]))
    omega = c * np.hypot(orders[0][:, None], orders[1][None, :])
    field = np.empty((len(sources), np.size(times), len(where)))
    for k, time in enumerate(np.ravel(times)):
        for s in range(len(sources)):
            weights = np.outer(moments[0][s], moments[1][s]) * np.cos(omega * time)
            field[s, k] = np.einsum("nm,nm->n", (shape_x @ weights)[back], shape_y)
    return amplitude * field


def _gauss_cosine(centre: Array, side: float, sigma0: float) -> Array:
    """Cosine coefficients (S, n_mode) of ``exp(-(x - centre)^2 / sigma0^2)`` on [0, side]."""
    # Away from the walls the coefficients fall like exp(-(k sigma0 / 2)^2), below 1e-13 beyond k = 11 / sigma0. A slope
    # s at a wall leaves a tail 2 s / (L k^2): four times as many modes bring its share of the field's norm below
    # 1e-5 for sources 2.7 sigma0 from the walls (0.6 m at 1 kHz); nearer ones need a finer reference.
    clearance = max(float(np.min(np.minimum(centre, side - centre))), 0.0)
    n_mode = math.ceil(11.0 * side / sigma0 / math.pi) + 2
    if clearance < 5.5 * sigma0:
        n_mode *= 4
    node, weight = legendre.leggauss(2 * n_mode + 60)
    x = 0.5 * side * (node + 1.0)
    pulse = np.exp(-(((x[None, :] - centre[:, None]) / sigma0) ** 2)) * (0.5 * side * weight)
    basis = np.cos(np.outer(x, np.arange(n_mode) * math.pi / side))
    coefficients = pulse @ basis * 2.0 / side
    coefficients[:, 0] *= 0.5
    return np.asarray(coefficients)


def tube_images(
    length: float,
    source_position: ArrayLike,
    points: ArrayLike,
    times: ArrayLike,
    sigma0: float,
    xi: tuple[float, float],
    c: float = 343.0,
    amplitude: float = 1.0,
) -> Array:
    """Exact pressure (S, T, N), Pa, of Gaussian pulses at rest in a tube [0, length] with wall impedances xi.

    ``p(x, t) = (f(x - ct) + f(x + ct)) / 2`` where f continues the pulse by images: at an end with reflection R a
    leftgoing wave g(ct + x) returns as R g(ct - x). ``xi`` holds the low and the high end.

    *Contract*: exact for any xi > 0 and for pulses cut by the walls; frequency-independent walls only.
    """
    sources, where = np.ravel(np.asarray(source_position, float)), np.ravel(np.asarray(points, float))
    low, high = (float(reflection_coefficient(end)) for end in xi)
    ct = c * np.ravel(np.asarray(times, float))[:, None]
    field = np.empty((len(sources), len(ct), len(where)))
    for s, x0 in enumerate(sources):
        ahead = _continued(where[None, :] - ct, x0, length, sigma0, low, high)
        mirrored = _continued(length - where[None, :] - ct, length - x0, length, sigma0, high, low)
        field[s] = 0.5 * amplitude * (ahead + mirrored)
    return field


def _continued(x: Array, x0: float, length: float, sigma0: float, low: float, high: float) -> Array:
    """The rightgoing wave at ``x <= length``: unfolded through the low end by R_low, then the high end, and so on."""
    # fold is 0 inside, -1 after one reflection at the low end, -2 after another at the high end, and so on.
    fold = np.minimum(np.floor(x / length).astype(int), 0)
    inner = x - fold * length
    even = fold % 2 == 0
    position = np.where(even, inner, length - inner)
    n_low, n_high = (1 - fold) // 2, (-fold) // 2
    return np.asarray(low**n_low * high**n_high * np.exp(-(((position - x0) / sigma0) ** 2)))


def gaussian_mean(centre: float, side: float, sigma0: float) -> float:
    """Mean of ``exp(-(x - centre)^2 / sigma0^2)`` over [0, side] by the error function: the pressure settles to it."""
    return math.sqrt(math.pi) * sigma0 / (2.0 * side) * float(erf((side - centre) / sigma0) + erf(centre / sigma0))
