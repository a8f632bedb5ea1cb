"""Your own simulations: write them in the published layout, one HDF5 file per source, and run the experiment on them.

The stand-in for your solver is the exact sound field of a rigid rectangle. Anything goes that gives pressure at fixed
nodes and times: fill the same labelled dataset, or write such files yourself; `sciml data check FOLDER` reads them all.
On a small set of sources a lookup may win at the nodes themselves; the report says who does.

    python examples/02_own_data.py --out own
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import xarray as xr
from sciml_acoustics.analytic import rigid_modal_sum
from sciml_acoustics.geometry import Room, random_points, source_grid
from sciml_acoustics.pulse import gaussian_pulse, pulse_width
from sciml_datasets.formats import check_data, deeponet_acoustics

import sciml

C, LENGTHS = 343.0, (2.4, 1.8)  # m/s, m
PLACE = Room("mine", (((0.0, 0.0), LENGTHS),))


def grid(spacing: float) -> tuple[np.ndarray, list[int]]:
    """Return the points (point, axis) of a uniform grid over the room, m, and their number along each axis."""
    axes = [np.linspace(0.0, length, round(length / spacing) + 1) for length in LENGTHS]
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2), [len(axis) for axis in axes]


def my_simulations(source: np.ndarray, f_max: float, t_max: float, split: str) -> xr.Dataset:
    """Solve for sources (source, axis) and label the result: dimensions, units, names."""
    sigma0, wavelength = pulse_width(f_max, C), C / f_max
    nodes, _ = grid(wavelength / 6.0)  # where you know the pressure: any points, in any order
    sensors, shape = grid(wavelength / 2.0)  # where the initial pulse is sampled: a uniform grid over the bounding box
    time = np.arange(round(2.0 * f_max * t_max) + 1) / (2.0 * f_max)  # two steps per shortest period at least
    pressure = rigid_modal_sum(PLACE, source, nodes, time, sigma0, C).astype(np.float32)
    return xr.Dataset(
        {
            "pressure": (("source", "time", "node"), pressure, {"units": "Pa"}),
            "initial_pressure": (("source", "sensor"), gaussian_pulse(source, sensors, sigma0), {"units": "Pa"}),
            "source_position": (("source", "axis"), source, {"units": "m"}),
            "node_position": (("node", "axis"), nodes, {"units": "m"}),
            "sensor_position": (("sensor", "axis"), sensors, {"units": "m"}),
        },
        coords={
            "time": ("time", time, {"units": "s"}),
            "simulation": ("source", [f"{split}_{i:03d}" for i in range(len(source))]),  # the names of the files
        },
        attrs={"c": C, "f_max": f_max, "rho": 1.2, "sigma0": sigma0, "umesh_shape": shape},
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("own_data"), help="folder for the files and the run")
    parser.add_argument("--smoke", action="store_true", help="a lower frequency and hardly any training of networks")
    given = parser.parse_args()

    f_max = 300.0 if given.smoke else 700.0
    positions = {
        "train": source_grid(PLACE, C / f_max / 5.0, padding=0.4),
        "test": random_points(PLACE, 6, np.random.default_rng(3), padding=0.4),
    }
    splits = {name: my_simulations(source, f_max, 0.03, name) for name, source in positions.items()}
    deeponet_acoustics.write(splits, given.out / "data")
    problems = check_data(given.out / "data")
    n_files = len(list((given.out / "data").rglob("*.h5")))
    print(f"files: {n_files} in {given.out / 'data'}, {len(problems)} problems")

    settings = {"data": str(given.out / "data"), "n_receivers": 20}
    short = {"fits.two_step_steps": 2, "deeponet_fit.budget_cpu_s": 0.5, "mended_fit.budget_cpu_s": 0.5}
    results = sciml.run(
        "acoustics", preset="quick", out=given.out / "run", overrides={**settings, **(short if given.smoke else {})}
    )
    for name in ("rel_l2_mean", "cubic_lookup_rel_l2_mean", "published_rel_l2_mean"):
        print(f"{name}: {results.metrics[name]:.4f}")
    print(f"report: {results.folder}/report.html")


if __name__ == "__main__":
    main()
