"""Field outputs: a few modes common to all levels, a model for each amplitude, and what the modes leave out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from sciml_mfuq.choose import Choice, choose
from sciml_mfuq.engines import fit_engine
from sciml_mfuq.samples import Array, Samples
from sciml_mfuq.surrogate import Decoder

ENERGY = 1e-4
"""Modes are kept until this share of the truth's energy is left out; never more than runs of the truth less one."""
N_MOST = 10


@dataclass(frozen=True)
class FieldFit:
    """A model for the amplitude of each mode, with the evidence on which its engine was chosen, and the decoder."""

    choices: Sequence[Choice]
    decoder: Decoder
    notes: tuple[str, ...] = ()


def modes_of(samples: Samples) -> Array:
    """Return orthonormal modes (mode, node) of what the runs of the truth and of the level below differ in.

    Proper orthogonal decomposition of the runs less the mean of their level, the truth first: the modes of the cheap
    level only add what is left once those of the truth are taken out.
    """
    parts = [level.y - level.y.mean(0) for level in (samples.truth, *samples.levels[-2:-1])]
    total = float((parts[0] ** 2).sum())
    kept = np.zeros((0, samples.truth.y.shape[1]))
    for part in parts:
        rest = part - part @ kept.T @ kept
        _, size, rows = np.linalg.svd(rest / np.sqrt(len(rest)), full_matrices=False)
        enough = size**2 > ENERGY * total / len(parts[0])
        kept = np.concatenate([kept, rows[enough][: N_MOST - len(kept)]])
    return kept if len(kept) else np.eye(1, kept.shape[1])


def fit_fields(samples: Samples, engines: Sequence[str], *, seed: int) -> FieldFit:
    """Fit a model to the amplitude of every mode, its engine chosen mode by mode.

    Parameters
    ----------
    samples
        With fields (run, node) of every level on the same nodes.
    engines, seed
        As in `choose`.
    """
    widths = {level.y.shape[1:] for level in samples.levels}
    if len(widths) != 1 or () in widths:
        raise ValueError(f"fit_fields: expected fields on the same nodes in all levels, got {widths}; interpolate them")
    modes = modes_of(samples)
    centres = [level.y.mean(0) for level in samples.levels]
    amplitudes = [(level.y - centre) @ modes.T for level, centre in zip(samples.levels, centres, strict=True)]
    choices = []
    for number in range(len(modes)):
        pairs = zip(samples.levels, amplitudes, strict=True)
        levels = tuple(replace(level, y=amplitude[:, number]) for level, amplitude in pairs)
        one = replace(samples, levels=levels)
        if len(engines) == 1:  # nothing to choose, so that no run need be left out
            choices.append(Choice(engines[0], fit_engine(engines[0], one, seed + number), {}, {}))
        else:
            choices.append(choose(one, engines, seed=seed + number))
    decoder = Decoder(*modes.shape)
    rest = samples.truth.y - centres[-1] - amplitudes[-1] @ modes
    decoder.offset.copy_(torch.from_numpy(centres[-1]))
    decoder.modes.copy_(torch.from_numpy(modes))
    decoder.rest.copy_(torch.from_numpy(np.sqrt((rest**2).mean(0))))
    return FieldFit(choices, decoder)
