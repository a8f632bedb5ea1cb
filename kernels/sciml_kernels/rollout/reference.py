"""Harvest rules in the three-species stock model, and its counter-based noise, in plain torch."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sciml_kernels.precision import accumulation_dtype

# Columns of `parameters` and of `rule`; the two tables say what the kernels read where.
PARAMETERS = (
    "r_x", "r_y", "k_x", "k_y", "beta", "c", "d", "c_xy", "b", "d_z", "sigma_x", "sigma_y", "sigma_z", "drift", "floor",
)  # fmt: skip
N_KNOTS = 5
RULE = ("mortality_x", "mortality_y", "gain_x", "gain_y", *(f"escapement_{s}_{k}" for s in "xy" for k in range(5)))
ROUNDS, MULTIPLIERS, WEYL, MASK = 10, (0xD2511F53, 0xCD9E8D57), (0x9E3779B9, 0xBB67AE85), 0xFFFFFFFF


def escapement(log_z: Tensor, knots: Tensor, levels: Tensor) -> Tensor:
    """Return the level at `log_z`: linear between the knots (knot,), constant beyond; `levels` are (..., knot)."""
    rise = ((log_z[..., None] - knots[:-1]) / (knots[1:] - knots[:-1])).clamp(0, 1)
    return levels[..., 0] + ((levels[..., 1:] - levels[..., :-1]) * rise).sum(-1)


def reference(rule: Tensor, parameters: Tensor, initial: Tensor, noise: Tensor, knots: Tensor, threshold: float,
              penalty: float) -> Tensor:  # fmt: skip
    """Return reward, years and survival; parameters and shapes are those of `sciml_kernels.rollout.rollout`."""
    wide = accumulation_dtype(rule.dtype)
    columns = [column[:, None] for column in rule.to(wide).unbind(1)]
    mortality, gain, levels = columns[:2], columns[2:4], rule.to(wide)[:, None, 4:].unflatten(-1, (2, N_KNOTS))
    r_x, r_y, k_x, k_y, beta, c, d, c_xy, b, d_z, sigma_x, sigma_y, sigma_z, drift, floor = parameters.to(wide).unbind(
        1
    )
    n_rule, n_episode = len(rule), len(initial)
    x, y, z = (column.expand(n_rule, n_episode) for column in initial.to(wide).unbind(1))
    reward = years = torch.zeros(n_rule, n_episode, dtype=wide, device=rule.device)
    alive = torch.ones(n_rule, n_episode, dtype=torch.bool, device=rule.device)
    for t, eps in enumerate(noise.to(wide)):
        targets = [escapement(z.log(), knots.to(wide), levels[:, :, i]) for i in (0, 1)]
        s_x, s_y = (
            n * (1 - (m + g * (1 - s / n).clamp(min=0)).clamp(0, 1))
            for n, m, g, s in zip((x, y), mortality, gain, targets, strict=True)
        )
        catch = (x - s_x) + (y - s_y)
        growth = r_x * torch.maximum(1 - drift * t, floor)
        eaten_x, eaten_y = (beta * z * s**2 / (c**2 + s**2) for s in (s_x, s_y))
        next_x = s_x + growth * s_x * (1 - s_x / k_x) - eaten_x - c_xy * s_x * s_y + sigma_x * s_x * eps[:, 0]
        next_y = s_y + r_y * s_y * (1 - s_y / k_y) - d * eaten_y - c_xy * s_x * s_y + sigma_y * s_y * eps[:, 1]
        next_z = z + z * (b * (s_x + d * s_y) - d_z) + sigma_z * z * eps[:, 2]
        survives = (next_x > threshold) & (next_y > threshold) & (next_z > threshold)
        reward = reward + torch.where(alive, torch.where(survives, catch, catch - penalty / (t + 1)), 0)
        years = years + alive
        alive = alive & survives
        # those that died keep their stock: nothing below uses it, and it stays a number
        x, y, z = (torch.where(alive, a, o) for a, o in zip((next_x, next_y, next_z), (x, y, z), strict=True))
    return torch.stack([reward, years, alive.to(wide)], -1).to(rule.dtype)


def noise_reference(episode: Tensor, year: Tensor, n_species: int, seed: int, stream: int) -> Tensor:
    """Return standard normals (..., species), float32; parameters are those of `sciml_kernels.rollout.normals`."""
    episode, year = torch.broadcast_tensors(episode.long(), year.long())
    blocks = []
    for block in range(-(-n_species // 4)):
        words = [episode & MASK, year & MASK, torch.full_like(year, block), torch.full_like(year, stream)]
        key = [seed & MASK, (seed >> 32) & MASK]
        for _ in range(ROUNDS):
            # the product of two 32-bit numbers wraps in int64, and its bits are right all the same
            first, second = (multiplier * word for multiplier, word in zip(MULTIPLIERS, words[::2], strict=True))
            words = [
                (second >> 32 & MASK) ^ words[1] ^ key[0], second & MASK,
                (first >> 32 & MASK) ^ words[3] ^ key[1], first & MASK,
            ]  # fmt: skip
            key = [(k + w) & MASK for k, w in zip(key, WEYL, strict=True)]
        uniform = [((word.float() + 0.5) * 2.0**-32).double() for word in words]  # in the rounding of the kernel
        for one, two in (uniform[:2], uniform[2:]):
            radius, angle = (-2 * one.log()).sqrt(), 2 * math.pi * two
            blocks += [radius * angle.cos(), radius * angle.sin()]
    return torch.stack(blocks[:n_species]).float().movedim(0, -1)
