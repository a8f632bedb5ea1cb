"""Registered data sets: generated boxes and merger trees, written with a card by `sciml data make`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from sciml_datasets import DatasetCard, Provenance, Sampling

from sciml import FieldSpec, Region
from sciml.progress import Progress
from sciml_cosmo.files import split_by_simulation, write_clouds, write_forest
from sciml_cosmo.forest import FEATURES
from sciml_cosmo.generate.boxes import BoxesConfig, make_boxes
from sciml_cosmo.generate.merger_trees import TreesConfig, make_forest

ABOVE = Region.interval(0.0, np.inf)
LABELS: tuple[tuple[str, str, Region, str], ...] = (
    ("Omega_m", "1", Region.interval(0.1, 0.5), "share of matter in the critical density"),
    ("sigma_8", "1", Region.interval(0.6, 1.0), "root mean square of the linear contrast in spheres of 8 Mpc/h"),
    ("simulation", "1", ABOVE, "number of the simulation"),
    ("n_node", "1", ABOVE, "nodes that belong to this entry, one after the other along the axis of nodes"),
)
PRIORS = "Omega_m and sigma_8 are a Sobol design, even in 0.1 to 0.5 and 0.6 to 1.0; no simulation lies in two splits."

CLOUDS = f"""## Equations

Particles of cold dark matter in a flat universe, comoving x and p = a^2 dx/dt, in a periodic box:

    dx/dt = p / a^2,  dp/dt = -grad(phi),  laplace(phi) = (3/2) Omega_m H0^2 delta / a

from second-order Lagrangian perturbations of a Gaussian random field. Haloes are friends of friends among the
particles.

## Use

The layout is that of CosmoBench. {PRIORS}
The number of haloes and their masses carry the cosmology: to learn from their places alone, keep equally many of the
heaviest in every box.
"""

MERGERS = f"""## Equations

Merger histories by the binary splits of extended Press-Schechter theory, with the fitted factor of Parkinson, Cole and
Helly: dN/dM1 = (dN/dM1)_EPS G0 (sigma1 / sigma2)^g1 (delta2 / sigma2)^g2.

## Use

`features` are {", ".join(FEATURES)}; `descendant` is a place along the axis of nodes, -1 for a root, and stands before
its progenitors.
{PRIORS}
"""


@dataclass(frozen=True)
class Boxes:
    """Haloes of simulated boxes, one HDF5 file per split in the layout of CosmoBench; a `sciml_datasets.DatasetSource`.

    Parameters
    ----------
    config : how many boxes, and each of them.

    *Contract*: equal seeds give equal files; the splits share no simulation.
    """

    config: BoxesConfig

    @property
    def card(self) -> DatasetCard:
        """Equations, variables with units, license, generator, cost and splits."""
        one, box = self.config.simulation, Region.interval(0.0, self.config.simulation.box_size)
        nodes = (
            ("position", ("node", "axis"), "Mpc/h", box, "centre of mass, comoving"),
            ("velocity", ("node", "axis"), "km/s", None, "peculiar velocity"),
            ("Mass", ("node",), "Msun/h", ABOVE, "mass of the particles"),
        )
        return DatasetCard(
            "cosmo.boxes",
            "Haloes of periodic boxes of cold dark matter in universes of different Omega_m and sigma_8",
            Provenance("MIT", "generated", "sciml_cosmo.generate.boxes", f"{self.config.n_box} boxes of 4 CPU seconds"),
            Sampling(
                "cloud", _counts(self.config.n_box), {"particles": one.n_particle**3, "box [Mpc/h]": one.box_size}
            ),
            (*(FieldSpec(*field) for field in nodes), *_labels("cloud")),
            CLOUDS,
        )

    def make(self, folder: Path, *, seed: int, progress: Progress | None = None) -> None:
        """Simulate the boxes that the cache does not hold yet, and write one file per split into `folder`."""
        clouds = make_boxes(self.config, seed, progress=progress)
        for split, chosen in split_by_simulation([cloud.simulation for cloud in clouds], seed=seed).items():
            write_clouds(Path(folder) / f"{split}.hdf5", (clouds[i] for i in chosen))


@dataclass(frozen=True)
class Trees:
    """Generated merger trees, one NetCDF-4 file per split; a `sciml_datasets.DatasetSource`.

    Parameters
    ----------
    config : how many trees, of which haloes.

    *Contract*: equal seeds give equal files; the splits share no simulation.
    """

    config: TreesConfig

    @property
    def card(self) -> DatasetCard:
        """Equations, variables with units, license, generator, cost and splits."""
        nodes = (
            ("features", ("node", "feature"), "1", None, ", ".join(FEATURES)),
            ("descendant", ("node",), "1", Region.interval(-1.0, np.inf), "place of the descendant, -1 for a root"),
            ("main_branch", ("node",), "1", Region.interval(0.0, 1.0), "1 on the main branch"),
            ("path_length", ("node",), "1", ABOVE, "snapshots to the descendant, 0 for a root"),
            ("snapshot", ("node",), "1", ABOVE, "snapshots before the last one"),
        )
        counts = {name: n * self.config.n_tree_each for name, n in _counts(self.config.n_cosmology).items()}
        return DatasetCard(
            "cosmo.trees",
            "Merger trees of haloes in universes of different Omega_m and sigma_8",
            Provenance(
                "MIT", "generated", "sciml_cosmo.generate.merger_trees", "100 trees in a second of one CPU core"
            ),
            Sampling("tree", counts, {"lightest node [Msun/h]": self.config.resolution}),
            (*(FieldSpec(*field) for field in nodes), *_labels("tree")),
            MERGERS,
        )

    def make(self, folder: Path, *, seed: int, progress: Progress | None = None) -> None:
        """Grow the trees and write one file per split into `folder`."""
        forest = make_forest(self.config, seed, progress=progress)
        for split, chosen in split_by_simulation(forest.simulation, seed=seed).items():
            write_forest(Path(folder) / f"{split}.nc", forest.take(chosen))


def _labels(dim: str) -> list[FieldSpec]:
    return [FieldSpec(name, (dim,), unit, bounds, text) for name, unit, bounds, text in LABELS]


def _counts(n_simulation: int) -> dict[str, int]:
    """Return how many simulations each split has."""
    return {name: len(index) for name, index in split_by_simulation(range(n_simulation)).items()}


BOXES, TREES = Boxes(BoxesConfig(n_box=20)), Trees(TreesConfig(n_cosmology=40))
