"""What `sciml bench fishery` measures beyond the comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sciml import Report, Run

if TYPE_CHECKING:
    from sciml_fishery.experiment import Findings


def measure_peers(findings: Findings, run: Run, report: Report) -> dict[str, float]:
    """Return the metrics of the run."""
    return dict(findings.metrics)
