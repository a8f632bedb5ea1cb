"""How true and how fast the particle-mesh code is: growth of long waves, momentum, CPU time, haloes by mass."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sciml_kernels.mesh_paint import mesh_paint
from sciml_kernels.mesh_read import mesh_read

from sciml.experiment import Run
from sciml.report import Report
from sciml.threads import one_core
from sciml_cosmo.cloud import Cloud
from sciml_cosmo.clustering.power_spectrum import field_spectrum, power_spectrum
from sciml_cosmo.generate import figures
from sciml_cosmo.generate.boxes import SimulationConfig, Task, particle_mass, simulate
from sciml_cosmo.generate.particle_mesh import Particles, begin, evolve, gaussian_field
from sciml_cosmo.generate.power import Universe

Array = NDArray[np.float64]
UNIVERSE = Universe(0.3, 0.8)
N_GROWTH, GROWTH_BOX, LONGEST = 8, 256.0, 0.05  # boxes, their side in Mpc/h, h/Mpc
N_HALO_BOX = 4


def measure(run: Run, report: Report) -> dict[str, float]:
    """Return `pm_growth_error`, `pm_cpu_s` and `pm_momentum`, and add a section with tables and pictures to a report.

    Parameters
    ----------
    run
        Its seed fixes the boxes; its progress is shown.
    report
        Gets the section.
    """
    report.section(
        "Particle-mesh code",
        "64³ particles on a mesh of 128³, second-order start at a = 0.1, 12 steps to a = 1, float32, one thread.",
    )
    with one_core():
        seconds, momentum = _clock(run.seed, report)
        error = _growth(run, report)
        _haloes(run.seed, report)
    found = {"pm_growth_error": error, "pm_cpu_s": seconds, "pm_momentum": momentum}
    report.facts({
        f"P/P linear - 1 at k < {LONGEST:g}": error,
        "one box (CPU s)": seconds,
        "|sum p| / sum |p|": momentum,
    })  # fmt: skip
    return found


def evolved(
    universe: Universe, box: float, config: SimulationConfig, seed: list[int]
) -> tuple[torch.Tensor, Particles]:
    """Return the linear density (transform) and the particles at a = 1."""
    density = gaussian_field(universe.power, config.n_particle, box / config.n_particle, seed, config.device)
    steps = np.linspace(config.start, 1, config.n_step + 1)
    return density, evolve(universe, begin(universe, density, config.start, config.n_mesh), steps, config.n_mesh)


def growth_ratios(n_box: int, seed: int, config: SimulationConfig, box: float = GROWTH_BOX,
                  update: Callable[[int], Any] = lambda done: None) -> tuple[Array, Array]:  # fmt: skip
    """Return wave numbers (shell,) and P(k) over the power of the same linear field (box, shell).

    Power of one realization over that of its own linear field: the scatter of the few longest waves cancels. No shot
    noise is subtracted, since particles that began on a lattice have none on such scales.
    """
    unit = 2 * np.pi / box
    edges = np.append(np.arange(0.5, 6), [8, 11, 16, 22]) * unit
    ratios = []
    for number in range(n_box):
        density, found = evolved(UNIVERSE, box, config, [seed, number])
        grown = power_spectrum(found.positions.double().numpy() * box / config.n_mesh, box, config.n_mesh, edges=edges)
        linear = field_spectrum(density, box, edges)
        ratios.append((grown.power + grown.shot_noise) / linear.power)
        update(number + 1)
    return grown.k, np.array(ratios)


def _growth(run: Run, report: Report) -> float:
    config = SimulationConfig(box_size=GROWTH_BOX)
    with run.progress.track(N_GROWTH, "growth") as update:
        k, ratios = growth_ratios(N_GROWTH, run.seed, config, update=update)
    mean, spread = ratios.mean(0), ratios.std(0, ddof=1) / np.sqrt(len(ratios))
    report.table(
        ["k (h/Mpc)", "P / linear P", "error of the mean"],
        [list(row) for row in zip(k, mean, spread, strict=True)],
        f"{N_GROWTH} boxes of {GROWTH_BOX:g} Mpc/h, cells of {GROWTH_BOX / config.n_mesh:g} Mpc/h, each against the "
        "linear power of its own initial field. Beyond k of about 0.1 growth is no longer linear.",
    )  # fmt: skip
    report.figure("pm_growth", figures.growth(k, ratios), "Growth of long waves; the band is 3 %, the line k = 0.05.")
    return float(np.abs(mean[k < LONGEST] - 1).max())


def _clock(seed: int, report: Report) -> tuple[float, float]:
    """Return the CPU seconds of one box, from the spectrum to a = 1, and what is left of its total momentum."""
    config, parts = SimulationConfig(), dict[str, float]()
    evolved(UNIVERSE, config.box_size, SimulationConfig(n_step=1), [seed, 0])  # compiles, and fills the caches
    start = time.process_time()
    _, found = evolved(UNIVERSE, config.box_size, config, [seed, 0])
    seconds = time.process_time() - start
    x, n = found.positions, config.n_mesh
    ones, mesh = torch.ones(1, len(x)), torch.randn(3, n, n, n, generator=torch.Generator().manual_seed(seed))
    for name, call in (
        ("painting", lambda: mesh_paint(x, ones, (n, n, n))),
        ("reading three forces", lambda: mesh_read(mesh, x)),
        ("transform", lambda: torch.fft.rfftn(mesh[0])),
    ):
        start = time.process_time()
        call()
        parts[name] = (time.process_time() - start) * (config.n_step + 1)
    parts["three inverse transforms and the rest"] = seconds - sum(parts.values())
    start = time.process_time()
    simulate(Task(UNIVERSE.omega_m, UNIVERSE.sigma_8, seed, 0, config))
    parts["haloes, beside that"] = time.process_time() - start - seconds
    report.table(["part", "CPU s"], [[name, value] for name, value in parts.items()], "One box of 100 Mpc/h.")
    momenta = found.momenta.double()
    return seconds, float(momenta.sum(0).norm() / momenta.norm(dim=1).sum())


def _haloes(seed: int, report: Report) -> None:
    config = SimulationConfig()
    made = [simulate(Task(UNIVERSE.omega_m, UNIVERSE.sigma_8, seed, i, config)) for i in range(N_HALO_BOX)]
    unit = particle_mass(UNIVERSE.omega_m, config)
    masses: list[Array] = [np.asarray(found.counts * unit, np.float64) for _, found in made]
    particles, found = made[0]
    cloud = Cloud(found.positions, found.velocities, config.box_size, masses[0], {"Omega_m": UNIVERSE.omega_m})
    x = particles.positions.double().numpy() * config.box_size / config.n_mesh
    picture = figures.density_slice(x, cloud)
    report.figure(
        "pm_slice", picture, "A slice of 12 Mpc/h: matter, haloes of 10 particles and more, and their motion."
    )
    law = fitted_law(UNIVERSE, np.geomspace(config.least * unit, 3e15, 60))
    picture = figures.mass_function(masses, config.box_size**3, law, (config.least - 0.5) * unit)
    text = f"Haloes of {N_HALO_BOX} boxes by mass, beside a law fitted to large simulations."
    report.figure("pm_mass_function", picture, text)


def fitted_law(universe: Universe, mass: Array) -> tuple[Array, Array]:
    """Return masses and the halo mass function dn / d ln M, (h/Mpc)^3.

    f = 0.315 exp(-|ln(1 / sigma) + 0.61|^3.8), dn / d ln M = f rho / M d ln(1 / sigma) / d ln M.

    *Source*: Jenkins et al. 2001 (MNRAS 321, 372), eq. 9, for groups linked at 0.2.
    """
    k, density = np.geomspace(1e-4, 50, 3000), particle_mass(universe.omega_m, SimulationConfig(1.0, 4, 4)) * 64
    x = k * np.cbrt(3 * mass / (4 * np.pi * density))[:, None]
    window = 3 * (np.sin(x) - x * np.cos(x)) / x**3
    variance = np.trapezoid(k**3 * universe.power(k) * window**2 / (2 * np.pi**2), np.log(k), axis=1)
    rise = -0.5 * np.log(variance)
    share = 0.315 * np.exp(-(np.abs(rise + 0.61) ** 3.8))
    return mass, share * density / mass * np.gradient(rise, np.log(mass))
