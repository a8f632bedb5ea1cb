"""Clouds and forests in files: the layouts of CosmoBench in, our own types out, and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from sciml_datasets.fetch import fetch_all
from sciml_datasets.formats import consistent_trees, galacticus
from sciml_datasets.formats.cosmobench_clouds import MASSES, CloudGroups, write_groups
from sciml_datasets.formats.cosmobench_trees import read as read_trees
from sciml_datasets.formats.cosmobench_trees import write as write_trees
from sciml_datasets.split import split_exactly

from sciml_cosmo.cloud import Cloud
from sciml_cosmo.forest import FEATURES, TARGETS, Forest

if TYPE_CHECKING:
    from sciml.progress import Progress

SERVER = "https://users.flatironinstitute.org/~fvillaescusa/CosmoBench"
PUBLISHED = {  # by suite the folder on the server, and the names of its files by split
    "quijote": ("Quijote", ("top5000_halos_{}.hdf5",)),
    "quijote-all": ("Quijote", ("ALL_halos_{}.hdf5",)),
    "camels-sam": ("CAMELS-SAM/galaxies", ("top5000_galaxies_{}.hdf5",)),
    "camels-sam-all": ("CAMELS-SAM/galaxies", ("ALL_galaxies_{}.hdf5",)),
    "camels": ("CAMELS", ("ALL_galaxies_{}.hdf5",)),
    "trees": ("CAMELS-SAM/trees", ("CS_tree_{}.pt",)),
    "infilling": ("CAMELS-SAM/trees", ("infilling_trees_25k_200_{}.pt",)),
}
FRACTIONS = {"train": 0.6, "val": 0.2, "test": 0.2}


class CloudFile(Sequence[Cloud]):
    """The clouds of one file in the order of their numbers, each read when it is asked for.

    `groups` gives the same clouds as labelled datasets, with whatever else the file holds for each node.
    """

    def __init__(self, groups: CloudGroups) -> None:
        self.groups = groups

    def __len__(self) -> int:
        """Return the number of clouds."""
        return len(self.groups)

    @overload
    def __getitem__(self, index: int) -> Cloud: ...
    @overload
    def __getitem__(self, index: slice) -> list[Cloud]: ...
    def __getitem__(self, index: int | slice) -> Cloud | list[Cloud]:
        """Return the cloud of that number."""
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return _cloud(self.groups[index], self.groups.parameters)

    @property
    def simulation(self) -> NDArray[np.int64]:
        """(cloud,): the number of each cloud's simulation, read without the clouds."""
        return self.groups.simulation

    @property
    def parameters(self) -> Mapping[str, NDArray[np.float64]]:
        """By name (cloud,): the labels, read without the clouds."""
        return self.groups.parameters


def read_clouds(path: str | Path, *, box_size: float | None = None, duplicates: str = "refuse") -> CloudFile:
    """Open a file of point clouds in the layout of CosmoBench; see `CloudGroups` for `box_size` and `duplicates`."""
    return CloudFile(CloudGroups(path, box_size=box_size, duplicates=duplicates))


def write_clouds(path: str | Path, clouds: Iterable[Cloud], key: str = "LH") -> None:
    """Write clouds of one side and one redshift, in that order, with the group name `key`; whole or not at all.

    Contract: `read_clouds(path)[i]` equals the i-th cloud to the bit.
    """
    write_groups(path, _datasets(clouds), key)


def read_forest(path: str | Path) -> Forest:
    """Read merger trees: a file that `write_forest` wrote, or a `.pt` of CosmoBench, in which nothing is executed."""
    (dataset,) = read_trees(Path(path)).values()
    with dataset:
        nodes = [str(name) for name in dataset.data_vars if dataset[name].dims[:1] == ("node",)]
        extra = {name: _extra(dataset[name]) for name in nodes if name not in ("features", "descendant")}
        start = np.concatenate([[0], np.cumsum(dataset["n_node"].values)])
        targets = np.stack([dataset[name].values for name in TARGETS], axis=1)
        features, descendant = dataset["features"].values, dataset["descendant"].values
        return Forest(features, descendant, start, targets, dataset["simulation"].values, extra)


def read_haloes(
    path: str | Path,
    *,
    sigma_8: float | None = None,
    simulation: int = 0,
    concentration: Literal["stored", "relation"] = "stored",
) -> Forest:
    """Read the merger trees of one simulation: HDF5 of Galacticus, or text of consistent-trees (any other ending).

    Parameters
    ----------
    path : ends in .hdf5 or .h5 for Galacticus.
    sigma_8 : of the simulation, where the file does not say it (consistent-trees never does).
    simulation : its number.
    concentration : "stored": as the file has it; "relation": the mean of :func:`mean_concentration`, for files without.

    Returns
    -------
    A forest with `extra` id and whatever else each halo has: is_subhalo, is_main, position and velocity (node, axis).

    Contract: nothing is filled in silently; what the four features need and the file lacks is named.
    """
    path = Path(path)
    dataset = (galacticus if path.suffix in (".hdf5", ".h5") else consistent_trees).read(path)
    scale, mass = dataset["scale_factor"].values, dataset["mass"].values
    if concentration == "relation":
        dataset["concentration"] = ("node", mean_concentration(mass, 1 / scale - 1))
    for name in ("concentration", "vmax"):
        if name not in dataset:
            do = "give concentration='relation'" if name == "concentration" else "add it to the file"
            raise ValueError(f"{path}: expected the {name} of each halo, got none; {do}")
        if not (np.isfinite(dataset[name]) & (dataset[name] > 0)).all():
            raise ValueError(f"{path} {name}: expected numbers above 0, got others; remove those trees")
    targets = {"Omega_m": dataset.attrs.get("Omega_m"), "sigma_8": dataset.attrs.get("sigma_8", sigma_8)}
    missing = [name for name, value in targets.items() if value is None]
    if missing:
        raise ValueError(f"{path}: expected Omega_m in the file and sigma_8, got no {missing[0]}; give sigma_8")
    columns = [np.log10(dataset[name].values) for name in ("mass", "concentration", "vmax")]
    start = np.concatenate([[0], np.cumsum(dataset["n_node"].values)])
    used = {"mass", "concentration", "vmax", "scale_factor", "descendant", "n_node"}
    extra = {str(name): dataset[name].values for name in set(dataset.data_vars) - used}
    labels = np.tile([targets[name] for name in TARGETS], (len(start) - 1, 1))
    return Forest(
        np.stack([*columns, scale], axis=1), dataset["descendant"].values, start, labels,
        np.full(len(start) - 1, simulation), extra,
    )  # fmt: skip


def mean_concentration(mass: NDArray[np.float64], redshift: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean concentration of haloes: c = 5.71 (M / 2e12 Msun/h)^-0.084 (1 + z)^-0.47.

    Parameters
    ----------
    mass : (node,) M200 with respect to the critical density, Msun/h.
    redshift : (node,).

    *Source*: A. R. Duffy et al., MNRAS 390 (2008) L64, Table 1 (NFW, all haloes, c200, redshifts 0 to 2).
    *Departures*: used as it is at higher redshifts, and without the scatter of 0.15 dex at given mass.

    >>> mean_concentration(np.array([2e12]), np.array([0.0]))
    array([5.71])
    """
    return 5.71 * (mass / 2e12) ** -0.084 * (1 + redshift) ** -0.47


def fetch_published(suite: str, folder: str | Path, *, progress: Progress | None = None) -> list[Path]:
    """Download the published files of one suite, resuming where an earlier call was cut off, and return their paths.

    Parameters
    ----------
    suite : one of `PUBLISHED`.
    folder : where they go; SHA256SUMS in it keeps what was received, as the benchmark publishes no sums.
    progress : where it is shown; by default nowhere.
    """
    if suite not in PUBLISHED:
        raise ValueError(f"suite: expected one of {', '.join(PUBLISHED)}, got {suite!r}; choose one")
    place, patterns = PUBLISHED[suite]
    names = [pattern.format(split) for pattern in patterns for split in FRACTIONS]
    fetch_all(f"{SERVER}/{place}", dict.fromkeys(names), folder, progress=progress)
    return [Path(folder) / name for name in names]


def write_forest(path: str | Path, forest: Forest) -> None:
    """Write a forest as labelled HDF5 (NetCDF-4), whole or not at all.

    Contract: `read_forest` gives it back to the bit. A `.pt`, a pickle, is never written.
    """
    one = {"units": "1"}
    data: dict[str, Any] = {name: ("tree", forest.targets[:, i], one) for i, name in enumerate(TARGETS)}
    data |= {
        "features": (("node", "feature"), forest.features, {"units": "1", "long_name": ", ".join(FEATURES)}),
        "descendant": ("node", forest.descendant, one),
        "n_node": ("tree", np.diff(forest.start), one),
    }
    for name, values in forest.extra.items():
        array = np.asarray(values)
        dims = ("node", *(f"{name}_{i}" for i in range(1, array.ndim)))
        data[name] = (dims, array.astype(np.int8) if array.dtype == bool else array, {**one, "kind": array.dtype.kind})
    coords = {"feature": list(FEATURES), "simulation": ("tree", forest.simulation, one)}
    write_trees({"all": xr.Dataset(data, coords)}, path)


def split_by_simulation(
    simulations: Sequence[int] | NDArray[np.int64], fractions: Mapping[str, float] | None = None, seed: int = 7
) -> dict[str, NDArray[np.int64]]:
    """Return the indices of each split; all that comes from one simulation lies in the same split.

    Parameters
    ----------
    simulations : the simulation of each cloud or tree.
    fractions : share of the simulations by split, rounded to whole ones; 0.6, 0.2, 0.2 by default.
    seed : fixes which simulations go where.

    Contract: permuting the clouds permutes the answer, and no simulation lies in two splits.
    """
    shares = dict(FRACTIONS if fractions is None else fractions)
    ids = [int(number) for number in simulations]
    if any(share < 0 for share in shares.values()) or abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"fractions: expected shares >= 0 that sum to 1, got {shares}; scale them")
    ends = np.rint(np.cumsum([0.0, *shares.values()]) * len(set(ids))).astype(int)
    counts = dict(zip(shares, np.diff(ends).tolist(), strict=True))
    empty = [name for name, share in shares.items() if share > 0 and not counts[name]]
    if empty:
        raise ValueError(
            f"split {empty[0]!r}: expected at least one of {len(set(ids))} simulations, got none; give more simulations"
        )
    return split_exactly(ids, counts, seed)


def _extra(variable: xr.DataArray) -> NDArray:
    return variable.values.astype(bool) if variable.attrs.get("kind") == "b" else variable.values


def _cloud(dataset: xr.Dataset, parameters: Iterable[str]) -> Cloud:
    mass = next((dataset[name].values for name in MASSES if name in dataset), None)
    return Cloud(
        dataset["position"].values, dataset["velocity"].values, dataset.attrs["box_size"], mass,
        {name: float(dataset[name]) for name in parameters}, dataset.attrs["redshift"], int(dataset["simulation"]),
    )  # fmt: skip


def _datasets(clouds: Iterable[Cloud]) -> Iterator[xr.Dataset]:
    for cloud in clouds:
        data = {
            "position": (("node", "axis"), cloud.positions, {"units": "Mpc/h"}),
            "velocity": (("node", "axis"), cloud.velocities, {"units": "km/s"}),
        }
        mass = {} if cloud.masses is None else {MASSES[0]: (("node",), cloud.masses, {"units": "Msun/h"})}
        scalars = {name: ((), value) for name, value in cloud.cosmology.items()}
        attributes = {"box_size": cloud.box_size, "redshift": cloud.redshift}
        yield xr.Dataset({**data, **mass}, {**scalars, "simulation": cloud.simulation}, attributes)
