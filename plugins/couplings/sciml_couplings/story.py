"""The report of `sciml run couplings` and `sciml bench couplings`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure

from sciml import Report, Surrogate
from sciml.plugins import PluginError, plugins
from sciml.report import CYCLE, format_number, new_figure, plot_style
from sciml_couplings.config import CouplingsConfig
from sciml_couplings.harvest import LARGEST_STOCK, N_SPECIES, true_fraction

BAR, RATIO_BAR = 1e-6, 1 / 3
CALLED = {
    "c": ("C", "50 steps of a time loop"),
    "cpp": ("C++", "50 steps of a time loop"),
    "fortran": ("Fortran", "50 steps of a time loop"),
    "onnx": ("ONNX Runtime", "24 samples in one call"),
    "umbridge": ("UM-Bridge, over HTTP", "24 requests"),
    "fmu": ("FMI 2 unit, in fmpy", "24 steps, a variable for each number"),
    "fmu3": ("FMI 3 unit, in fmpy", "24 steps, arrays"),
}
LOOKS = {"eager Python": (CYCLE[1], "o--"), "ONNX Runtime": (CYCLE[2], "s:"), "C": (CYCLE[0], "D-")}


@dataclass(frozen=True)
class Measured:
    """What `sciml bench couplings` measures beyond `run`.

    Parameters
    ----------
    times : CPU microseconds of a call by caller, one for each number of samples.
    served : numbers of the UM-Bridge server; empty where it is not installed.
    statuses : of wrong requests, wanted and found.
    """

    times: Mapping[str, Sequence[float]]
    served: Mapping[str, float]
    statuses: Mapping[str, tuple[int, int]]

    @property
    def metrics(self) -> dict[str, float]:
        """Numbers by name; calls are those of one sample."""
        c, python = self.times["C"][0], self.times["eager Python"][0]
        refused = sum(wanted == found for wanted, found in self.statuses.values())
        return {
            "coupling_c_call_us": c,
            "coupling_python_call_us": python,
            "small_call_latency_c_over_python": c / python,
            **({"coupling_onnx_call_us": self.times["ONNX Runtime"][0]} if "ONNX Runtime" in self.times else {}),
            **self.served,
            **({"coupling_umbridge_refused_share": refused / len(self.statuses)} if self.statuses else {}),
        }


@dataclass(frozen=True)
class Findings:
    """Everything that the report tells.

    Parameters
    ----------
    config, surrogate, folder : settings, what was exported, and where it lies.
    metrics : numbers of `run` by name.
    untried : a sentence for each coupling that needs what is not installed.
    measured : of `bench`.
    """

    config: CouplingsConfig
    surrogate: Surrogate
    folder: Path
    metrics: Mapping[str, float]
    untried: Mapping[str, str]
    measured: Measured | None = None

    @property
    def all_metrics(self) -> dict[str, float]:
        """Numbers of `run` and of `bench` by name."""
        return {**self.metrics, **(self.measured.metrics if self.measured else {})}


def tell(findings: Findings) -> Report:
    """Write the report.

    Parameters
    ----------
    findings : of a run or a bench.
    """
    metrics, tried = findings.metrics, [name for name in CALLED if name not in findings.untried]
    worst = max(metrics[f"coupling_{name}_rel_err"] for name in tried)
    report = Report(
        "Couplings",
        f"A surrogate asked from {len(tried)} kinds of program differs from Python by at most {format_number(worst)}, "
        f"relative; the bar for C and Fortran is {format_number(BAR)}.",
    )
    report.section("The same numbers everywhere", "The surrogate is exported, called, and compared with Python.")
    rows = [
        [title, how, metrics.get(f"coupling_{name}_rel_err"), findings.untried.get(name, "")]
        for name, (title, how) in CALLED.items()
    ]
    columns = ("called from", "how often", "largest relative difference", "not tried")
    report.table(columns, rows, "Differences from Python; the surrogate computes in single precision.")
    report.facts(
        {
            "export to C, CPU (s)": metrics["coupling_c_export_cpu_s"],
            "export to C, wall (s)": metrics["coupling_c_export_wall_s"],
            "programs in three languages, CPU (s)": metrics["coupling_programs_cpu_s"],
        }
    )
    if findings.measured:
        _tell_times(report, findings, findings.measured)
    _tell_surrogate(report, findings)
    report.section("What each surrogate can be written for", _SUPPORT)
    names = ("surrogate", "C, C++, Fortran", "derivatives over UM-Bridge, for SciPy and PETSc", "why not")
    report.table(names, declared(), "What the networks of the installed plugins declare.")
    return report


_SUPPORT = """`--to cffi`, UM-Bridge and mock-up units run Python and take every surrogate. ONNX takes what C takes, but
for the triangular solve of kriging and the search in a table, which `--to onnx` refuses with the operation's name.
"""


def declared() -> list[list[str]]:
    """Return a row for each registered surrogate: name, what it can be compiled for, derivatives, why not."""
    rows = []
    for name in sorted(plugins().entries["surrogates"]):
        try:
            kind: Any = plugins().resolve("surrogates", name)
        except (PluginError, ImportError) as error:
            rows.append([name, "unknown", "unknown", str(error)])
            continue
        reason = str(getattr(kind, "not_exportable", ""))
        smooth = "gradient" in getattr(kind, "supports", ())
        why = [reason] if reason else []
        why += [] if smooth else ["declares no gradient"]
        rows.append([name, "no" if reason else "yes", "yes" if smooth else "no", "; ".join(why)])
    return rows


def _tell_times(report: Report, findings: Findings, measured: Measured) -> None:
    numbers = measured.metrics
    ratio = numbers["small_call_latency_c_over_python"]
    kept = "below" if ratio <= RATIO_BAR else "above"
    report.section(
        "What a call costs",
        f"A call of one sample takes {format_number(ratio)} of the CPU time of eager Python in C, {kept} the bar of "
        f"{format_number(RATIO_BAR)}. C checks every call; the others check nothing.{_faster(findings, measured)}",
    )
    rows = [[name, *times] for name, times in measured.times.items()]
    columns = ("caller", *(f"batch of {size} (µs)" for size in findings.config.batches))
    report.table(columns, rows, "CPU time of a call on one thread, median of interleaved rounds.")
    caption = "CPU time of a call by the number of its samples, one thread."
    report.figure("latency", draw_times(findings.config.batches, measured.times), caption)
    if measured.served:
        report.section("UM-Bridge", f"{findings.config.n_client} clients at once on one machine, over loopback.")
        report.facts(
            {
                "requests": int(numbers["coupling_umbridge_requests"]),
                "lost": int(numbers["coupling_umbridge_lost"]),
                "answers (1/s)": numbers["coupling_umbridge_calls_per_s"],
                "CPU of a request, server and client (ms)": numbers["coupling_umbridge_cpu_ms"],
            }
        )
        statuses = [[name, str(wanted), str(found or "none")] for name, (wanted, found) in measured.statuses.items()]
        report.table(("request", "status wanted", "status found"), statuses, "Wrong requests, and what they get.")


def _faster(findings: Findings, measured: Measured) -> str:
    """Return the sentence about batches for which ONNX Runtime costs less than C, if any."""
    pairs = zip(findings.config.batches, measured.times["C"], measured.times.get("ONNX Runtime", ()), strict=False)
    sizes = [str(size) for size, c, onnx in pairs if onnx < c]
    return f" ONNX Runtime costs less than C in batches of {', '.join(sizes)}." if sizes else ""


def _tell_surrogate(report: Report, findings: Findings) -> None:
    own, linear = (findings.metrics[f"coupling_{name}_rel_l2"] for name in ("surrogate", "linear"))
    report.section(
        "The surrogate",
        f"A harvest rule known as a formula, learned by {findings.config.n_neuron} neurons from "
        f"{findings.config.n_train} samples: relative L2 error {format_number(own)} on samples never seen, of linear "
        f"least squares {format_number(linear)}.",
    )
    caption = "Fraction of the first stock to fish in year 0, the second stock and the predator at 0.5."
    report.figure("rule", draw_rule(findings.surrogate), caption)


@plot_style()
def draw_times(sizes: Sequence[int], times: Mapping[str, Sequence[float]]) -> Figure:
    """Draw the time of a call over the number of its samples.

    Parameters
    ----------
    sizes : samples in a call.
    times : microseconds by caller.
    """
    figure, axes = new_figure(1, 1, 6.4, 4.0)
    for name, values in times.items():
        colour, look = LOOKS[name]
        axes[0, 0].loglog(sizes, values, look, color=colour, label=name)
    axes[0, 0].set(xlabel="samples in a call", ylabel="CPU time of a call [µs]")
    axes[0, 0].legend()
    return figure


@plot_style()
def draw_rule(surrogate: Surrogate) -> Figure:
    """Draw the fraction to fish over the stock, as the formula and as the surrogate have it.

    Parameters
    ----------
    surrogate : of the harvest rule.
    """
    stock, year = np.full((200, N_SPECIES), 0.5), np.zeros(200)
    stock[:, 0] = np.linspace(0, LARGEST_STOCK, 200)
    with torch.inference_mode():
        tensors = {"stock": torch.as_tensor(stock).float(), "year": torch.as_tensor(year).float()}
        found = surrogate(**tensors)["fraction"].numpy()
    figure, axes = new_figure(1, 1, 6.4, 3.6)
    axes[0, 0].plot(stock[:, 0], true_fraction(stock, year)[:, 0], "-", color=CYCLE[6], label="formula")
    axes[0, 0].plot(stock[:, 0], found[:, 0], "--", color=CYCLE[0], label="surrogate")
    axes[0, 0].set(xlabel="first stock [1]", ylabel="fraction to fish [1]")
    axes[0, 0].legend()
    return figure
