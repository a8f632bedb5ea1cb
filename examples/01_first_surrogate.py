"""A first surrogate: solve, fit, save, load, predict with units, be refused outside the training domain, plot.

The spectral-element solver gives the sound field in a square room for a few sources; the modal operator is fitted to it
in closed form and then answers for sources that it has never seen, at receivers between the nodes of the mesh.

    python examples/01_first_surrogate.py --out first
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import numpy as np
from sciml_acoustics.config import SolverConfig
from sciml_acoustics.data import Waves, queries
from sciml_acoustics.geometry import random_points, room, source_grid
from sciml_acoustics.modal import fit_modal
from sciml_acoustics.sem import SemMesh
from sciml_acoustics.simulate import simulate, window
from sciml_acoustics.subspace import proper_orthogonal

import sciml
from sciml.report import new_figure

PLACE = room("square")  # 2 m x 2 m


def fit(waves: Waves) -> sciml.Surrogate:
    """Fit the modal operator; its training domain is the box around the training sources."""
    region, wavelength = sciml.Region(PLACE.boxes), waves.medium.c / waves.medium.f_max
    subspace = proper_orthogonal(waves, tolerance=1e-3, max_rank=400)
    band = (1.6 * 2.0 * math.pi / wavelength, 0.6 * wavelength)  # wave number (rad/m) and margin (m) of the frame
    network = fit_modal(waves, subspace, region, band, ppw=3.0)
    domain = {"source_position": sciml.Region.around(waves.source_position)}
    return sciml.Surrogate(network, domain=domain, provenance={"solver": "spectral elements"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("first_surrogate"), help="folder for surrogate and plot")
    parser.add_argument(
        "--smoke", action="store_true", help="a lower frequency and fewer sources: seconds, not minutes"
    )
    given = parser.parse_args()

    solver = SolverConfig(f_max=400.0, t_max=0.03) if given.smoke else SolverConfig()
    mesh = SemMesh(PLACE, solver.order, solver.ppw, solver.f_max)
    sources = source_grid(PLACE, 343.0 / solver.f_max / solver.source_ppw, solver.padding)
    held_out = random_points(PLACE, 8, np.random.default_rng(5), solver.padding)
    time = window(solver, solver.t_max)
    train, test = (simulate(mesh, solver, positions, time) for positions in (sources, held_out))

    fit(train).save(given.out / "surrogate")
    surrogate = sciml.load(given.out / "surrogate")  # what another program, another day, does
    print(f"surrogate: {surrogate.n_bytes / 1e6:.2f} MB for {len(sources)} sources and {len(mesh.nodes)} nodes")

    answer = surrogate.predict(queries(held_out, mesh.nodes, time))["pressure"]
    print(f"predicted: {answer.dims} in {answer.attrs['units']}")
    error = answer.values.transpose(0, 2, 1) - test.pressure
    print(f"relative L2 error on held-out sources: {np.linalg.norm(error) / np.linalg.norm(test.pressure):.4f}")

    try:
        surrogate.predict(queries(np.array([[0.1, 1.0]]), mesh.nodes, time))
    except ValueError as refusal:
        print(f"refused: {refusal}")

    receiver = random_points(PLACE, 1, np.random.default_rng(6))
    truth = test.pressure[0] @ mesh.interpolation(receiver).toarray()[0]
    finer = np.linspace(0.0, time[-1], 400)  # any times, any receivers: they are inputs
    response = surrogate.predict(queries(held_out[:1], receiver, finer))["pressure"].squeeze()
    figure, axes = new_figure()
    axes[0, 0].plot(1e3 * finer, response, label="surrogate")
    axes[0, 0].plot(1e3 * time, truth, "o", label="solver")
    axes[0, 0].set(
        xlabel="time (ms)", ylabel="pressure (Pa)", title="A source and a receiver that were never trained on"
    )
    axes[0, 0].legend()
    figure.savefig(given.out / "response.png", dpi=150)
    print(f"plot: {given.out / 'response.png'}")


if __name__ == "__main__":
    main()
