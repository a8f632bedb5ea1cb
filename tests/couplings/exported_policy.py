"""One small policy, compiled once for all tests of a run: compiling takes a minute."""

from __future__ import annotations

import os
import shutil

import pytest
import torch
from filelock import FileLock
from sciml_couplings.c_export import to_c
from sciml_fishery.policies import neural

from sciml import Region, Surrogate


def policy():
    network = neural(["cod", "herring", "seal"], ["cod", "herring"], 7, width=8, clock=10.0)
    domain = {"stock": Region((((0.0,) * 3, (2.0,) * 3),)), "year": Region.interval(0.0, 100.0)}
    return Surrogate(network, domain=domain)


@pytest.fixture(scope="session")
def exported(tmp_path_factory):
    """The folder of the compiled policy, shared by the workers of one run."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder = shared / "policy_in_c"
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            to_c(policy(), folder)
    return folder


def example_tensors(n, seed=13):
    generator = torch.Generator().manual_seed(seed)
    stock = 0.05 + 1.5 * torch.rand(n, 3, generator=generator)
    return {"stock": stock, "year": 30 * torch.rand(n, generator=generator)}
