"""Rules and noise on the CPU: rules shared among the cores, the inner loop over episodes in vector registers."""

from __future__ import annotations

import math

import numba
import numpy as np
import torch
from numba import prange
from torch import Tensor

from sciml_kernels.numba_tools import PARALLEL_FROM, compiled
from sciml_kernels.rollout.reference import MULTIPLIERS, N_KNOTS, ROUNDS, WEYL

M0, M1, W0, W1 = (np.uint64(value) for value in (*MULTIPLIERS, *WEYL))
LOW, HALF = np.uint64(0xFFFFFFFF), np.uint64(32)
UNIT, SHIFT, TURN = np.float32(2.0**-32), np.float32(0.5), np.float32(2 * math.pi)


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


@numba.njit(inline="always")
def _polar(a, b):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return radius and angle of Box and Muller for two words, in float32."""
    u, v = (np.float32(a) + SHIFT) * UNIT, (np.float32(b) + SHIFT) * UNIT
    return math.sqrt(np.float32(-2.0) * math.log(u)), TURN * v


def _noise(out, episode, year, n_species, seed, stream):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Fill the normals (counter, species)."""
    for i in prange(len(episode)):
        for block in range((n_species + 3) // 4):
            a, b = np.uint64(episode[i]) & LOW, np.uint64(year[i]) & LOW
            c, d = np.uint64(block), np.uint64(stream)
            k, l = np.uint64(seed) & LOW, np.uint64(seed) >> HALF
            for _ in range(ROUNDS):
                p, q = M0 * a, M1 * c
                a, b, c, d = (q >> HALF) ^ b ^ k, q & LOW, (p >> HALF) ^ d ^ l, p & LOW
                k, l = (k + W0) & LOW, (l + W1) & LOW
            at = 4 * block
            radius, angle = _polar(a, b)
            out[i, at] = radius * math.cos(angle)
            if at + 1 < n_species:
                out[i, at + 1] = radius * math.sin(angle)
            if at + 2 < n_species:
                radius, angle = _polar(c, d)
                out[i, at + 2] = radius * math.cos(angle)
                if at + 3 < n_species:
                    out[i, at + 3] = radius * math.sin(angle)


follow, draw = compiled(_rollout), compiled(_noise)


def launch(rule: Tensor, parameters: Tensor, initial: Tensor, noise: Tensor, knots: Tensor, threshold: float,
           penalty: float) -> Tensor:  # fmt: skip
    """Return what the reference returns, in float32 or float64 on the CPU."""
    out = torch.empty((len(rule), len(initial), 3), dtype=rule.dtype)
    if not out.numel():
        return out
    by_episode = parameters.detach().t().contiguous(), initial.detach().t().contiguous()
    arrays = [tensor.numpy() for tensor in (*by_episode, noise.detach().transpose(1, 2).contiguous())]
    kind = arrays[0].dtype.type
    parallel = int(out.numel() * len(noise) >= PARALLEL_FROM)
    rules, at = rule.detach().contiguous().numpy(), knots.detach().contiguous().numpy()
    follow[parallel](out.numpy(), rules, *arrays, at, kind(threshold), kind(penalty))
    return out


def launch_noise(episode: Tensor, year: Tensor, n_species: int, seed: int, stream: int) -> Tensor:
    """Return the normals of the reference."""
    episode, year = torch.broadcast_tensors(episode.long(), year.long())
    out = torch.empty((*episode.shape, n_species), dtype=torch.float32)
    if out.numel():
        counters = (counter.contiguous().reshape(-1).numpy() for counter in (episode, year))
        parallel = int(episode.numel() >= PARALLEL_FROM)
        draw[parallel](out.reshape(-1, n_species).numpy(), *counters, n_species, seed, stream)
    return out
