"""Real distributions in a temporary folder, and the `sciml` command in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sciml.cli import run_command
from sciml.cli.commands import package_commands
from sciml.plugins import _scan, plugins

TOY = """
import sciml

@sciml.hookimpl
def sciml_experiments():
    return [sciml.Registration("toy", "toy_science:Toy", "A noisy contraction")]

@sciml.hookimpl
def sciml_surrogates():
    return [sciml.Registration("toy.line", "toy_science:Line", "y = slope x")]
"""

SCIENCE = """
import os
import signal
from dataclasses import dataclass

import numpy as np
import torch

import sciml
from sciml.artifact import read_json, write_json


class Line(sciml.Network):
    registered = "toy.line"

    def __init__(self):
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor(3.0, dtype=torch.float64))

    @property
    def spec(self):
        x = sciml.FieldSpec("x", ("batch",), "m", description="place")
        return sciml.Spec((x,), (sciml.FieldSpec("y", ("batch",), "m"),))

    @property
    def config(self):
        return {}

    def forward(self, x):
        return {"y": self.slope * x}


@dataclass(frozen=True)
class Inner:
    rate: float = sciml.setting(0.5, "Contraction per step", "1/step")


@dataclass(frozen=True)
class Config:
    n_steps: int = sciml.setting(20, "Steps of the iteration")
    fail_at: int = sciml.setting(-1, "Step that fails; negative: none")
    keep: bool = sciml.setting(True, "Write checkpoints")
    inner: Inner = sciml.setting(Inner(), "The map")


class Toy(sciml.Experiment):
    @property
    def presets(self):
        return {"default": Config(), "quick": Config(n_steps=5)}

    def run(self, config, run):
        path, rng, value, first = run.checkpoint("state.json"), np.random.default_rng(run.seed), 1.0, 0
        if path.exists():
            state = read_json(path)
            rng.bit_generator.state, value, first = state["rng"], state["value"], state["step"]
        with run.progress.track(config.n_steps, "iterate") as update:
            for step in range(first, config.n_steps):
                if step == config.fail_at:
                    raise FloatingPointError(f"step {step}: expected a finite value, got nan; lower inner.rate")
                if step == int(os.environ.get("TOY_STOPS_AT", -1)):
                    os.kill(os.getpid(), getattr(signal, os.environ["TOY_SIGNAL"]))
                value = config.inner.rate * value + rng.standard_normal()
                if config.keep:
                    write_json(path, {"step": step + 1, "value": value, "rng": rng.bit_generator.state})
                update(step + 1)
        surrogate = sciml.Surrogate(Line(), domain={"x": sciml.Region.interval(0, 2)}, provenance={"seed": run.seed})
        return sciml.Results({"value": value, "n_steps": config.n_steps}, sciml.Report("Toy"), surrogate)

    def bench(self, config, run):
        results = self.run(config, run)
        return sciml.Results({**results.metrics, "peer_value": 0.0}, results.report, results.surrogate)
"""


def distribution(folder: Path, name: str, module: str, entry_points: str | None = None) -> Path:
    """Write the module `name` and the metadata of a distribution x-`name` that registers it as the plugin `name`."""
    info = folder / f"x_{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: x-{name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entry_points or f"[sciml.plugins]\n{name} = {name}\n")
    (folder / f"{name}.py").write_text(module)
    return folder


def toy_distribution(folder: Path) -> Path:
    """Write a plugin that works."""
    distribution(folder, "toy", TOY)
    (folder / "toy_science.py").write_text(SCIENCE)
    return folder


# What is started in the background of a shell ignores SIGINT, and so do its children.
HEEDS_SIGINT = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def sciml_command(*args: object, plugins: Path, cwd: Path, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `sciml` in a process that sees the distributions in `plugins` and none of the caller's switches."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("SCIML_", "TOY_"))}
    return subprocess.run(
        [sys.executable, "-c", f"{HEEDS_SIGINT}; from sciml.cli import main; main()", *map(str, args)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env={**clean, "PYTHONPATH": str(plugins), "OMP_NUM_THREADS": "1", **env},
        check=False,
    )


@pytest.fixture
def site(tmp_path):
    return toy_distribution(tmp_path / "site")


@pytest.fixture
def sciml(site, tmp_path, monkeypatch, capfd):
    """Return a function that runs the command in this process with the toy plugin: (status, stdout, stderr)."""
    monkeypatch.syspath_prepend(site)
    monkeypatch.setenv("SCIML_PLUGINS", "toy")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("SCIML_DEBUG", raising=False)
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)

    def call(*args):
        status = run_command([str(arg) for arg in args])
        out, err = capfd.readouterr()
        return status, out, err

    for cache in (plugins, _scan, package_commands):
        cache.cache_clear()
    yield call
    for cache in (plugins, _scan, package_commands):
        cache.cache_clear()
    for name in {"toy", "toy_science"} & (set(sys.modules) - before):
        del sys.modules[name]


def sentence(err):
    """Assert that `err` is one sentence without a traceback, and return it."""
    assert "Traceback" not in err
    assert err.count("\n") == 1
    return err.rstrip("\n")


def rows(out):
    return [line.split() for line in out.splitlines()]
