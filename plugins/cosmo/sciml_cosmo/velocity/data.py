"""The clouds of the velocity task, split by simulation, in real space and in redshift space."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sciml import Run
from sciml.experiment import content_hash
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.files import read_clouds, split_by_simulation
from sciml_cosmo.generate.boxes import make_boxes
from sciml_cosmo.velocity.config import VelocityConfig

FRACTIONS = {"train": 0.625, "val": 0.125, "test": 0.25}


@dataclass(frozen=True, eq=False)
class Split:
    """Clouds to fit, to choose and to judge with; no simulation is in two of them."""

    train: Sequence[Cloud]
    val: Sequence[Cloud]
    test: Sequence[Cloud]

    @property
    def has_mass(self) -> bool:
        """Whether every cloud knows its masses."""
        return all(cloud.masses is not None for part in self.parts for cloud in part)

    @property
    def parts(self) -> tuple[Sequence[Cloud], Sequence[Cloud], Sequence[Cloud]]:
        """The three."""
        return self.train, self.val, self.test

    @property
    def truth(self) -> list[NDArray[np.float64]]:
        """Velocities of the clouds to judge with, (node, axis) each."""
        return [cloud.velocities for cloud in self.test]

    def in_redshift_space(self) -> Split:
        """Return the same clouds as an observer far along the third axis sees them."""
        return Split(*([in_redshift_space(cloud) for cloud in part] for part in self.parts))


def in_redshift_space(cloud: Cloud) -> Cloud:
    """Return a cloud with the third coordinate s = z + v_z (1 + redshift) / H, through the faces of the box.

    H = 100 E km/s per Mpc/h, E that of a flat universe with the cloud's Omega_m.

    Parameters
    ----------
    cloud : in real space; it is not changed.

    *Source*: Kaiser, MNRAS 227 (1987), section 2.

    *Departures*: CosmoBench takes H = 100, which is the same at redshift 0 only.

    Examples
    --------
    >>> still = Cloud(np.array([[1.0, 2.0, 9.0]]), np.array([[0.0, 0.0, 300.0]]), 10.0)
    >>> in_redshift_space(still).positions.tolist()
    [[1.0, 2.0, 2.0]]
    """
    scale = 1 + cloud.redshift
    if cloud.redshift and "Omega_m" not in cloud.cosmology:
        raise ValueError("in_redshift_space: expected Omega_m of a cloud with a redshift, got none; give its cosmology")
    omega_m = cloud.cosmology.get("Omega_m", 1.0) if cloud.redshift else 1.0
    expansion = 1.0 if not cloud.redshift else (omega_m * scale**3 + 1 - omega_m) ** 0.5
    positions = cloud.positions.copy()
    positions[:, 2] += cloud.velocities[:, 2] * scale / (100 * expansion)
    return Cloud(
        positions, cloud.velocities, cloud.box_size, cloud.masses, dict(cloud.cosmology), cloud.redshift,
        cloud.simulation,
    )  # fmt: skip


def load(config: VelocityConfig, run: Run) -> Split:
    """Read the clouds of a folder, or make universes; split by simulation, and record what they were."""
    if config.files:
        split = Split(*(_read(Path(config.files), name) for name in ("train", "val", "test")))
    else:
        clouds = make_boxes(config.boxes, config.design, progress=run.progress)
        places = split_by_simulation([cloud.simulation for cloud in clouds], FRACTIONS, config.design)
        split = Split(*([clouds[i] for i in places[name]] for name in ("train", "val", "test")))
    if config.heaviest:
        split = Split(*([cloud.heaviest(config.heaviest) for cloud in part] for part in split.parts))
    run.record(data_hash=content_hash(*(cloud.positions for part in split.parts for cloud in part)))
    return split


def _read(folder: Path, name: str) -> list[Cloud]:
    paths = sorted(folder.glob(f"*_{name}.hdf5"))
    if len(paths) != 1:
        raise ValueError(f"{folder}: expected one file *_{name}.hdf5, got {len(paths)}; choose a folder of one suite")
    return list(read_clouds(paths[0]))
