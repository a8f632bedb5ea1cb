"""What `sciml bench cosmo` measures of merger trees: speed, masses, progenitors against theory, exact transforms."""

from __future__ import annotations

import time

import numpy as np

from sciml import Report, Run
from sciml.threads import one_core
from sciml_cosmo.forest import Forest
from sciml_cosmo.generate.branching import grow, tables_of
from sciml_cosmo.generate.merger_trees import TreesConfig, make_forest
from sciml_cosmo.generate.power import Universe
from sciml_cosmo.generate.press_schechter import COLLAPSE, FITTED, PLAIN, Modifier, Theory, tabulate
from sciml_cosmo.generate.tree_figures import Counted, draw_mass_functions, draw_tree
from sciml_cosmo.trees.definitions import differing, random_forest
from sciml_cosmo.trees.infill import infill
from sciml_cosmo.trees.transforms import binarise, coarsen, prune, trim

UNIVERSES = ((0.3, 0.8), (0.1, 0.6), (0.5, 1.0))
N_HALO, STEP, N_BIN, RESOLUTION = 40_000, 0.1, 8, 3e10
LARGEST = 37_865  # nodes of the largest tree of CosmoBench


def measure(run: Run, report: Report) -> dict[str, float]:
    """Measure, add sections to the report, and return the metrics."""
    with one_core():
        return {**_growth(run, report), **_progenitors(run, report), **_transforms(run, report)}


def _growth(run: Run, report: Report) -> dict[str, float]:
    config = TreesConfig(n_cosmology=1, n_tree_each=50)
    forest, cpu_s = make_forest(config, run.seed), np.inf  # the first call compiles
    for _ in range(3):
        began = time.process_time()
        forest = make_forest(config, run.seed)
        cpu_s = min(cpu_s, time.process_time() - began)
    ratio, sizes = heaviest_sum(forest), np.diff(forest.start)
    text = "Binary splits of Parkinson, Cole and Helly; concentrations from when 4 % of the mass had come together."
    report.section("Merger trees", text)
    report.facts(
        {
            "CPU time of 50 trees, compiled before (s)": cpu_s,
            "haloes per tree, median": float(np.median(sizes)),
            "largest mass of all progenitors of a halo, over its own": ratio,
        }
    )
    middle = int(np.argsort(sizes)[len(sizes) // 4])
    caption = "A merger tree: time runs upwards, every line is a halo from one snapshot to the next."
    report.figure("merger_tree", draw_tree(forest, middle), caption)
    return {"trees_50_cpu_s": cpu_s, "trees_progenitor_mass_max_ratio": ratio}


def heaviest_sum(forest: Forest) -> float:
    """Return the largest ratio of the mass of all progenitors of a node to its own."""
    mass = 10.0 ** forest.features[:, 0].astype(np.float64)
    progenitor, descendant = forest.edge_index
    return float((np.bincount(descendant, mass[progenitor], len(mass)) / mass).max())


def count(theory: Theory, modifier: Modifier, parent: float, step: float, rng: np.random.Generator,
          n_halo: int = N_HALO) -> Counted:  # fmt: skip
    """Count the progenitors of many haloes one step in omega before, between the resolution and half their mass.

    Parameters
    ----------
    theory, modifier
        What the trees grow by; for `PLAIN`, the expectation is the conditional mass function of the whole step, for
        others the rate times the step, which holds for small steps.
    parent
        Mass of the haloes, Msun/h.
    step
        Rise of omega.
    rng
        The only source of chance.
    n_halo
        How many haloes.
    """
    tables, barrier = tables_of(theory, modifier, RESOLUTION / 2), np.array([COLLAPSE, COLLAPSE + step])
    masses = np.concatenate([grow(parent, barrier, tables, rng)[0][1:] for _ in range(n_halo)])
    edges = np.geomspace(RESOLUTION, parent / 2, N_BIN + 1)
    width = np.log(edges[1] / edges[0])
    fine = np.exp(np.log(RESOLUTION) + width * (np.arange(N_BIN * 32) + 0.5) / 32)
    if modifier == PLAIN:
        theirs = theory.progenitors(parent, fine, COLLAPSE, COLLAPSE + step)
    else:
        theirs = step * theory.rate(parent, fine, COLLAPSE, modifier)
    counts, scale = np.histogram(masses, edges)[0], n_halo * width
    middle = np.sqrt(edges[1:] * edges[:-1]) / parent
    return Counted(middle, counts / scale, np.sqrt(counts) / scale, theirs.reshape(N_BIN, 32).mean(1))


def _progenitors(run: Run, report: Report) -> dict[str, float]:
    rng, shown, rows, worst = np.random.default_rng(run.seed), dict[str, Counted](), [], 0.0
    kinds = {"fitted, as in the trees": FITTED, "plain extended Press-Schechter": PLAIN}
    with run.progress.track(len(UNIVERSES) * len(kinds), "progenitors") as update:
        for omega_m, sigma_8 in UNIVERSES:
            theory = tabulate(Universe(omega_m, sigma_8), RESOLUTION / 4, 1e14)
            for name, modifier in kinds.items():
                one = count(theory, modifier, 1e13, STEP, rng)
                error = float(np.abs(one.ratio - 1).max())
                rows.append(
                    (f"Omega_m {omega_m}, sigma_8 {sigma_8}", name, error, float((one.error / one.found).max()))
                )
                worst = max(worst, error)
                if omega_m == UNIVERSES[0][0]:
                    shown[name] = one
                update(len(rows))
    text = (
        f"Haloes of 10¹³ Msun/h, {N_HALO} for each row, one step of {STEP} in omega = 1.686 / D. The fitted rate is"
        " compared with itself times the step, the plain one with the conditional mass function of Lacey and Cole, from"
        " the resolution to half the parent's mass: above that, binary splits fix progenitors by what the lighter left."
    )
    report.section("Progenitors against theory", text)
    columns = ("universe", "rate of splits", "largest error of a bin", "of which counting (one standard error)")
    report.table(columns, rows)
    theory = tabulate(Universe(*UNIVERSES[0]), RESOLUTION / 4, 1e14)
    far = {step: count(theory, PLAIN, 1e13, step, rng, N_HALO // 10) for step in (0.5, 1.0)}
    report.table(
        ("step in omega", "from", "to"),
        [(step, float(one.ratio.min()), float(one.ratio.max())) for step, one in far.items()],
        "Trees over theory after longer steps, plain splits in the first universe; omega rises by 1 from z = 0 to 1.",
    )
    report.figure("progenitors", draw_mass_functions(shown), "The conditional mass function of one small step.")
    return {"trees_conditional_mass_error": worst}


def _transforms(run: Run, report: Report) -> dict[str, float]:
    rng, wrong = np.random.default_rng(run.seed), set[str]()
    for _ in range(300):
        wrong |= set(differing(random_forest(rng, 3, 60), 10**10.5))
    large = make_forest(TreesConfig(1, 1, n_snapshot=100, least_root=6e14, greatest_root=6.1e14), run.seed)
    rows, transforms = [], {"prune": prune, "binarise": binarise, "coarsen": coarsen, "infill": infill}
    for name, transform in {"trim": lambda forest: trim(forest, 1e11), **transforms}.items():
        transform(large)
        began = time.process_time()
        transform(large)
        rows.append((name, time.process_time() - began, "no" if name in wrong else "yes"))
    text = "Compared with recursive definitions on 900 random trees, node for node, path lengths and labels included."
    report.section("Transforms of trees", text)
    columns = ("transform", f"CPU time, tree of {len(large.features)} haloes (s)", "equal to its definition")
    report.table(columns, rows, f"The largest tree of CosmoBench has {LARGEST} haloes.")
    return {"transforms_equal_brute_force": float(not wrong)}
