"""Rules and noise in Triton: a pair of rule and episode in each lane, its stocks in registers for all years."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from sciml_kernels.precision import accumulation_dtype
from sciml_kernels.rollout.reference import MULTIPLIERS, N_KNOTS, PARAMETERS, ROUNDS, RULE, WEYL
from sciml_kernels.triton_tools import accumulator, configurations, require_launchable

N_RULE, N_PARAMETER, KNOTS = tl.constexpr(len(RULE)), tl.constexpr(len(PARAMETERS)), tl.constexpr(N_KNOTS)
M_0, M_1, W_0, W_1 = (tl.constexpr(value) for value in (*MULTIPLIERS, *WEYL))
N_ROUND, TWO_PI, UNIT = tl.constexpr(ROUNDS), tl.constexpr(6.283185307179586), tl.constexpr(2.0**-32)
_CHOICES = (((128,), 4), ((64,), 2), ((256,), 8))


@triton.jit
def _escapement(log_z, knots, levels, mask, ACC: tl.constexpr):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the level at log_z: linear between the knots, constant beyond."""
    level = tl.load(levels, mask=mask, other=0).to(ACC)
    before = level
    for k in tl.static_range(KNOTS - 1):
        after = tl.load(levels + k + 1, mask=mask, other=0).to(ACC)
        low, high = tl.load(knots + k).to(ACC), tl.load(knots + k + 1).to(ACC)
        level += (after - before) * tl.minimum(tl.maximum((log_z - low) / (high - low), 0), 1)
        before = after
    return level


@triton.jit
def _left(stock, target, mortality, gain):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
    """Return the stock after the harvest."""
    fraction = mortality + gain * tl.maximum(1 - target / stock, 0)
    return stock * (1 - tl.minimum(tl.maximum(fraction, 0), 1))


@triton.autotune(configs=configurations(("BLOCK",), _CHOICES), key=["n_pair"])
@triton.jit(do_not_specialize=("n_pair", "n_episode", "n_time"))
def rollout_kernel(  # long: one pass over the years
    rule: tl.tensor, parameters: tl.tensor, initial: tl.tensor, noise: tl.tensor, knots: tl.tensor, limits: tl.tensor,
    out: tl.tensor, n_pair: tl.tensor, n_episode: tl.tensor, n_time: tl.tensor,
    ACC: tl.constexpr, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Follow a block of pairs; episodes run fastest, so that a block shares its rules and reads noise in a row."""
    pair = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = pair < n_pair
    own, episode = rule + pair // n_episode * N_RULE, pair % n_episode
    threshold, penalty = tl.load(limits), tl.load(limits + 1)
    m_x, m_y = tl.load(own, mask=mask, other=0).to(ACC), tl.load(own + 1, mask=mask, other=0).to(ACC)
    g_x, g_y = tl.load(own + 2, mask=mask, other=0).to(ACC), tl.load(own + 3, mask=mask, other=0).to(ACC)
    par = parameters + episode * N_PARAMETER
    r_x, r_y = tl.load(par, mask=mask, other=1.0).to(ACC), tl.load(par + 1, mask=mask, other=1.0).to(ACC)
    k_x, k_y = tl.load(par + 2, mask=mask, other=1.0).to(ACC), tl.load(par + 3, mask=mask, other=1.0).to(ACC)
    beta, c = tl.load(par + 4, mask=mask, other=1.0).to(ACC), tl.load(par + 5, mask=mask, other=1.0).to(ACC)
    d, c_xy = tl.load(par + 6, mask=mask, other=1.0).to(ACC), tl.load(par + 7, mask=mask, other=1.0).to(ACC)
    b, d_z = tl.load(par + 8, mask=mask, other=1.0).to(ACC), tl.load(par + 9, mask=mask, other=1.0).to(ACC)
    sigma_x, sigma_y = tl.load(par + 10, mask=mask, other=1.0).to(ACC), tl.load(par + 11, mask=mask, other=1.0).to(ACC)
    sigma_z, drift = tl.load(par + 12, mask=mask, other=1.0).to(ACC), tl.load(par + 13, mask=mask, other=1.0).to(ACC)
    floor = tl.load(par + 14, mask=mask, other=1.0).to(ACC)
    x = tl.load(initial + episode * 3, mask=mask, other=1.0).to(ACC)
    y = tl.load(initial + episode * 3 + 1, mask=mask, other=1.0).to(ACC)
    z = tl.load(initial + episode * 3 + 2, mask=mask, other=1.0).to(ACC)
    reward, years = tl.full((BLOCK,), 0, ACC), tl.full((BLOCK,), 0, ACC)
    alive = mask
    for t in range(n_time):
        eps = noise + (t * n_episode.to(tl.int64) + episode) * 3
        log_z = tl.log(z)
        s_x = _left(x, _escapement(log_z, knots, own + 4, mask, ACC), m_x, g_x)
        s_y = _left(y, _escapement(log_z, knots, own + 4 + KNOTS, mask, ACC), m_y, g_y)
        eaten_x = beta * z * s_x * s_x / (c * c + s_x * s_x)
        eaten_y = beta * z * s_y * s_y / (c * c + s_y * s_y)
        growth = r_x * tl.maximum(1 - drift * t, floor)
        next_x = s_x + growth * s_x * (1 - s_x / k_x) - eaten_x - c_xy * s_x * s_y
        next_y = s_y + r_y * s_y * (1 - s_y / k_y) - d * eaten_y - c_xy * s_x * s_y
        next_z = z + z * (b * (s_x + d * s_y) - d_z)
        next_x += sigma_x * s_x * tl.load(eps, mask=mask, other=0).to(ACC)
        next_y += sigma_y * s_y * tl.load(eps + 1, mask=mask, other=0).to(ACC)
        next_z += sigma_z * z * tl.load(eps + 2, mask=mask, other=0).to(ACC)
        lives = (next_x > threshold) & (next_y > threshold) & (next_z > threshold)
        catch = (x - s_x) + (y - s_y)
        reward += tl.where(alive, tl.where(lives, catch, catch - penalty / (t + 1)), 0)
        years += tl.where(alive, 1.0, 0.0).to(ACC)
        alive = alive & lives
        # Those that died keep their stock: nothing uses it, and it stays a number.
        x, y, z = tl.where(alive, next_x, x), tl.where(alive, next_y, y), tl.where(alive, next_z, z)
    kind = out.dtype.element_ty
    tl.store(out + pair * 3, reward.to(kind), mask=mask)
    tl.store(out + pair * 3 + 1, years.to(kind), mask=mask)
    tl.store(out + pair * 3 + 2, tl.where(alive, 1.0, 0.0).to(kind), mask=mask)


@triton.jit(do_not_specialize=("n_counter", "n_species", "key_0", "key_1", "stream"))
def normals_kernel(
    episode: tl.tensor, year: tl.tensor, out: tl.tensor, n_counter: tl.tensor, n_species: tl.tensor,
    key_0: tl.tensor, key_1: tl.tensor, stream: tl.tensor, BLOCK: tl.constexpr,
) -> None:  # fmt: skip
    """Draw four species for a block of counters: Philox4x32-10 in 64-bit words, of which the lower half counts."""
    LOW: tl.constexpr = 0xFFFFFFFF
    counter = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = counter < n_counter
    w_0 = tl.load(episode + counter, mask=mask, other=0).to(tl.uint64) & LOW
    w_1 = tl.load(year + counter, mask=mask, other=0).to(tl.uint64) & LOW
    w_2 = (w_0 ^ w_0) + tl.program_id(1).to(tl.uint64)
    w_3 = (w_0 ^ w_0) + (stream.to(tl.uint64) & LOW)
    k_0, k_1 = key_0.to(tl.uint64) & LOW, key_1.to(tl.uint64) & LOW
    for _ in tl.static_range(N_ROUND):
        p, q = w_0 * M_0, w_2 * M_1
        w_0, w_1, w_2, w_3 = (q >> 32) ^ w_1 ^ k_0, q & LOW, (p >> 32) ^ w_3 ^ k_1, p & LOW
        k_0, k_1 = (k_0 + W_0) & LOW, (k_1 + W_1) & LOW
    for half in tl.static_range(2):
        one, two = (w_0, w_1) if half == 0 else (w_2, w_3)
        radius = tl.sqrt(-2 * tl.log((one.to(tl.float32) + 0.5) * UNIT))
        angle = TWO_PI * ((two.to(tl.float32) + 0.5) * UNIT)
        species = tl.program_id(1) * 4 + 2 * half
        place = out + species.to(tl.int64) * n_counter + counter
        tl.store(place, radius * tl.cos(angle), mask=mask & (species < n_species))
        tl.store(place + n_counter, radius * tl.sin(angle), mask=mask & (species + 1 < n_species))


def launch(rule: Tensor, parameters: Tensor, initial: Tensor, noise: Tensor, knots: Tensor, threshold: float,
           penalty: float) -> Tensor:  # fmt: skip
    """Return what the reference returns."""
    require_launchable("rollout", rollout_kernel, rule)
    out = rule.new_empty(len(rule), len(initial), 3)
    n_pair, wide = len(rule) * len(initial), accumulation_dtype(rule.dtype)
    if n_pair:
        limits = torch.full((2,), penalty, dtype=wide, device=rule.device)
        limits[0] = threshold
        arrays = (tensor.contiguous() for tensor in (rule, parameters, initial, noise, knots))
        rollout_kernel[lambda meta: (triton.cdiv(n_pair, meta["BLOCK"]),)](
            *arrays, limits, out, n_pair, len(initial), len(noise), ACC=accumulator(rule.dtype)
        )
    return out


def launch_noise(episode: Tensor, year: Tensor, n_species: int, seed: int, stream: int) -> Tensor:
    """Return the normals of the reference."""
    require_launchable("rollout_noise", normals_kernel, episode)
    episode, year = (x.contiguous() for x in torch.broadcast_tensors(episode.long(), year.long()))
    out = torch.empty((n_species, *episode.shape), dtype=torch.float32, device=episode.device)
    if out.numel():
        n_counter, block = episode.numel(), 256
        normals_kernel[(triton.cdiv(n_counter, block), triton.cdiv(n_species, 4))](
            episode, year, out, n_counter, n_species, seed & 0xFFFFFFFF, seed >> 32, stream, BLOCK=block
        )
    return out.movedim(0, -1)
