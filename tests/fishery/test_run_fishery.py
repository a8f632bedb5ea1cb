"""`sciml run fishery` leaves a whole folder, and its settings explain themselves."""

from __future__ import annotations

import torch
from sciml_fishery.policies import PredatorEscapement
from sciml_fishery.rules import from_csv

import sciml
from sciml.testing import check_experiment


def test_quick_run_conforms_and_writes_the_rule(tmp_path):
    failed = [check for check in check_experiment("fishery", run_quick=True, out=tmp_path / "run") if not check.passed]
    assert not failed, failed
    rule = from_csv(tmp_path / "run" / "rule.csv")
    surrogate = sciml.load(tmp_path / "run" / "surrogate")
    assert isinstance(surrogate.network, PredatorEscapement)
    stock, year = torch.full((3, 3), 0.6), torch.zeros(3)
    assert torch.equal(surrogate(stock=stock, year=year)["fraction"], rule.fraction(stock, year))
    assert (tmp_path / "run" / "rule.md").read_text().startswith("# Harvest rule")
