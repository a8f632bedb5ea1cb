"""The one source of chance: normals keyed by (seed, purpose, episode, year, species), equal whatever else is drawn."""

from __future__ import annotations

from enum import IntEnum

import torch
from sciml_kernels.rollout import normals
from torch import Tensor


class Purpose(IntEnum):
    """What a number is drawn for; different purposes never share one."""

    GROWTH = 0
    START = 1
    OBSERVATION = 2
    IMPLEMENTATION = 3
    PARAMETERS = 4
    ACTION = 5


def draw(seed: int, episode: Tensor, year: Tensor, n: int, purpose: Purpose = Purpose.GROWTH) -> Tensor:
    """Return standard normals (..., n) for the integers `episode` and `year`, which broadcast.

    *Contract*: a number depends on its own keys alone, not on what is drawn beside it, and not on the device but for
    rounding.

    Examples
    --------
    >>> first = draw(3, torch.arange(4), torch.tensor(0), 2)
    >>> torch.equal(first[2:], draw(3, torch.tensor([2, 3]), torch.tensor(0), 2))
    True
    """
    return normals(episode, year, n, seed, int(purpose))


def growth_noise(seed: int, episode: Tensor, n_years: int, n: int) -> Tensor:
    """Return the noise (time, episode, n) of whole episodes."""
    years = torch.arange(n_years, device=episode.device)
    return draw(seed, episode[None], years[:, None], n)
