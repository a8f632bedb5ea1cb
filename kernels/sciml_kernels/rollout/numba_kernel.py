"""Rules and noise on the CPU: rules shared among the cores, the inner loop over episodes in vector registers."""

from __future__ import annotations

import math

import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, arrays, compiled
from sciml_kernels.rollout.reference import MULTIPLIERS, N_KNOTS, ROUNDS, WEYL

M0, M1, W0, W1 = (np.uint64(value) for value in (*MULTIPLIERS, *WEYL))
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
UNIT, SHIFT, PI, LN2 = (np.float32(value) for value in (2.0**-32, 0.5, math.pi, math.log(2)))
# Series of artanh(s) / s, sin(y) / y and cos(y), cut where the rest is below the rounding of float32
A0, A1, A2, A3, A4 = (np.float32(1 / (2 * k + 1)) for k in range(5))
S0, S1, S2, S3, S4, S5 = (np.float32((-1) ** k / math.factorial(2 * k + 1)) for k in range(6))
C0, C1, C2, C3, C4, C5, C6 = (np.float32((-1) ** k / math.factorial(2 * k)) for k in range(7))
WIDTH = 256


def _rollout(out, rule, par, initial, noise, knots, threshold, penalty):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # long: one pass over time
    """Follow every rule through every episode; the arrays are (rule, column), (column, episode), (time, 3, episode)."""
    n_rule, n_time, n_episode = rule.shape[0], noise.shape[0], initial.shape[1]
    zero, one = rule.dtype.type(0), rule.dtype.type(1)
    for i in prange(n_rule):
        state, total = initial.copy(), np.zeros(n_episode, rule.dtype)
        alive, years = np.ones(n_episode, rule.dtype), np.zeros(n_episode, rule.dtype)
        target = np.empty((2, n_episode), rule.dtype)
        target[0], target[1] = rule[i, 4], rule[i, 4 + N_KNOTS]
        flat = True
        for k in range(1, N_KNOTS):
            flat = flat and rule[i, 4 + k] == rule[i, 4] and rule[i, 4 + N_KNOTS + k] == rule[i, 4 + N_KNOTS]
        m_x, m_y, g_x, g_y = rule[i, 0], rule[i, 1], rule[i, 2], rule[i, 3]
        for t in range(n_time):
            if not flat:
                for e in range(n_episode):
                    log_z = np.log(state[2, e])
                    for s in range(2):
                        level = rule[i, 4 + N_KNOTS * s]
                        for k in range(N_KNOTS - 1):
                            rise = min(max((log_z - knots[k]) / (knots[k + 1] - knots[k]), zero), one)
                            at = 4 + N_KNOTS * s + k
                            level += (rule[i, at + 1] - rule[i, at]) * rise
                        target[s, e] = level
            year, loss, left = rule.dtype.type(t), penalty / rule.dtype.type(t + 1), zero
            for e in range(n_episode):
                x, y, z = state[0, e], state[1, e], state[2, e]
                f_x = min(max(m_x + g_x * max(one - target[0, e] / x, zero), zero), one)
                f_y = min(max(m_y + g_y * max(one - target[1, e] / y, zero), zero), one)
                s_x, s_y = x * (one - f_x), y * (one - f_y)
                growth = par[0, e] * max(one - par[13, e] * year, par[14, e])
                c2, both = par[5, e] * par[5, e], par[7, e] * s_x * s_y
                hunger = par[4, e] * z
                n_x = s_x + growth * s_x * (one - s_x / par[2, e]) - hunger * s_x * s_x / (c2 + s_x * s_x) - both
                n_y = s_y + par[1, e] * s_y * (one - s_y / par[3, e]) - both
                n_y -= par[6, e] * hunger * s_y * s_y / (c2 + s_y * s_y)
                n_z = z + z * (par[8, e] * (s_x + par[6, e] * s_y) - par[9, e])
                n_x += par[10, e] * s_x * noise[t, 0, e]
                n_y += par[11, e] * s_y * noise[t, 1, e]
                n_z += par[12, e] * z * noise[t, 2, e]
                lives = one if (n_x > threshold) & (n_y > threshold) & (n_z > threshold) else zero
                total[e] += alive[e] * ((x - s_x) + (y - s_y) - (one - lives) * loss)
                years[e] += alive[e]
                alive[e] *= lives
                state[0, e] = n_x if alive[e] > zero else x
                state[1, e] = n_y if alive[e] > zero else y
                state[2, e] = n_z if alive[e] > zero else z
                left += alive[e]
            if left == zero:
                break
        for e in range(n_episode):
            out[i, e, 0] = total[e]
            out[i, e, 1] = years[e]
            out[i, e, 2] = alive[e]


def _noise(out, episode, year, seed, stream):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202 # long: the steps of a block stand together
    """Fill the normals (block of four species, species, counter), `WIDTH` counters at a time in vector registers."""
    n_counter, two = out.shape[2], np.float32(2.0)
    for part in prange((n_counter + WIDTH - 1) // WIDTH):
        begin, words = part * WIDTH, np.empty((4, WIDTH), np.float32)
        mantissa, radius = np.empty(WIDTH, np.int32), np.empty(WIDTH, np.float32)
        n = min(WIDTH, n_counter - begin)
        for block in range(out.shape[0]):
            for i in range(n):
                a, b = np.uint64(episode[begin + i]) & LOW, np.uint64(year[begin + i]) & LOW
                c, d = np.uint64(block), np.uint64(stream)
                k, l = np.uint64(seed) & LOW, np.uint64(seed) >> HALF
                for _ in range(ROUNDS):
                    p, q = M0 * a, M1 * c
                    a, b, c, d = (q >> HALF) ^ b ^ k, q & LOW, (p >> HALF) ^ d ^ l, p & LOW
                    k, l = (k + W0) & LOW, (l + W1) & LOW
                words[0, i], words[1, i] = (np.float32(a) + SHIFT) * UNIT, (np.float32(b) + SHIFT) * UNIT
                words[2, i], words[3, i] = (np.float32(c) + SHIFT) * UNIT, (np.float32(d) + SHIFT) * UNIT
            for pair in range(2):
                bits, reduced = words[2 * pair].view(np.int32), mantissa.view(np.float32)
                for i in range(n):
                    # u = 2^e m with m near 1: the bits of m are those of u with another exponent
                    up = np.int32(1 if (bits[i] & 0x7FFFFF) > 0x3504F3 else 0)
                    mantissa[i] = (bits[i] & 0x7FFFFF) | ((127 - up) << 23)
                    radius[i] = np.float32((bits[i] >> 23) - 127 + up)
                for i in range(n):
                    m = reduced[i]
                    s = (m - np.float32(1.0)) / (m + np.float32(1.0))
                    t = s * s
                    log = radius[i] * LN2 + two * s * (A0 + t * (A1 + t * (A2 + t * (A3 + t * A4))))
                    radius[i] = math.sqrt(max(-two * log, np.float32(0.0)))
                for i in range(n):
                    # the half of the angle less pi, in [-pi / 2, pi / 2]
                    y = PI * (words[2 * pair + 1, i] - SHIFT)
                    t = y * y
                    sine = y * (S0 + t * (S1 + t * (S2 + t * (S3 + t * (S4 + t * S5)))))
                    cosine = C0 + t * (C1 + t * (C2 + t * (C3 + t * (C4 + t * (C5 + t * C6)))))
                    out[block, 2 * pair, begin + i] = radius[i] * (two * sine * sine - np.float32(1.0))
                    out[block, 2 * pair + 1, begin + i] = -two * radius[i] * sine * cosine


follow, draw = compiled(_rollout), compiled(_noise)


def launch(rule: Tensor, parameters: Tensor, initial: Tensor, noise: Tensor, knots: Tensor, threshold: float,
           penalty: float) -> Tensor:  # fmt: skip
    """Return what the reference returns, in float32 or float64 on the CPU."""
    out = torch.empty((len(rule), len(initial), 3), dtype=rule.dtype)
    if not out.numel():
        return out
    turned = arrays(parameters.t(), initial.t(), noise.transpose(1, 2))
    kind = turned[0].dtype.type
    parallel = int(out.numel() * len(noise) >= PARALLEL_FROM)
    rules, at = arrays(rule, knots)
    follow[parallel](out.numpy(), rules, *turned, at, kind(threshold), kind(penalty))
    return out


def launch_noise(episode: Tensor, year: Tensor, n_species: int, seed: int, stream: int) -> Tensor:
    """Return the normals of the reference."""
    episode, year = torch.broadcast_tensors(episode.long(), year.long())
    out = torch.empty((-(-n_species // 4), 4, episode.numel()), dtype=torch.float32)
    if out.numel():
        counters = (counter.contiguous().reshape(-1).numpy() for counter in (episode, year))
        draw[int(episode.numel() >= PARALLEL_FROM)](out.numpy(), *counters, seed, stream)
    return out.flatten(0, 1)[:n_species].reshape(n_species, *episode.shape).movedim(0, -1)
