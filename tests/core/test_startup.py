"""The light commands stay light: what they import is checked in a fresh interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = (
    "torch",
    "numpy",
    "xarray",
    "scipy",
    "pandas",
    "numba",
    "triton",
    "matplotlib",
    "torch_geometric",
    "h5py",
    "h5netcdf",
    "pint",
    "gpytorch",
    "safetensors",
)
SCRIPT = """
import contextlib, io, json, sys
from sciml.cli import run_command
out = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")
with contextlib.redirect_stdout(out):
    status = run_command(sys.argv[1:])
out.flush()
print(json.dumps({"status": status, "modules": sorted(sys.modules), "output": out.buffer.getvalue().decode()}))
"""


def imported_by(*args: str) -> dict:
    env = {key: value for key, value in os.environ.items() if not key.startswith("SCIML_")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *args], capture_output=True, text=True, env=env, check=True, encoding="utf-8"
    )
    return json.loads(done.stdout)


@pytest.mark.parametrize(
    "args",
    [
        ("--help",),
        ("--version",),
        ("list",),
        ("list", "experiments", "--json"),
        ("plugins",),
        ("plugins", "--json"),
        ("plugins", "acoustics"),
        ("run", "--help"),
        ("bench", "--help"),
        ("show", "--help"),
        ("predict", "--help"),
        ("check", "--help"),
    ],
    ids=" ".join,
)
def test_light_commands_import_nothing_heavy(args):
    seen = imported_by(*args)
    assert seen["status"] == 0
    assert seen["output"]
    assert [name for name in HEAVY if name in seen["modules"]] == []


def test_wrong_use_is_told_before_anything_heavy_is_imported():
    for args in (("rnu",), ("run",), ("run", "acoustics", "--set", "a"), ("run", "no_such_experiment")):
        seen = imported_by(*args)
        assert seen["status"] in (1, 2)
        assert [name for name in HEAVY if name in seen["modules"]] == []


def test_help_imports_no_command_and_no_plugin():
    modules = imported_by("--help")["modules"]
    commands = {
        f"sciml.cli.{name}" for name in ("list", "show", "plugins", "run", "bench", "predict", "check", "export")
    }
    assert commands.isdisjoint(modules)
    assert not [name for name in modules if name.startswith(("sciml_acoustics", "sciml_datasets", "sciml_kernels"))]


def test_importing_sciml_imports_nothing_heavy():
    script = "import sciml, sys, json; print(json.dumps(sorted(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert [name for name in HEAVY if name in json.loads(done.stdout)] == []


@pytest.mark.parametrize(("words", "offered"), [("sciml p", ["plugins", "predict"]), ("sciml run --pre", ["--preset"])])
def test_shell_completion_offers_names_and_options_and_imports_nothing_heavy(words, offered, monkeypatch):
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    monkeypatch.setenv("_SCIML_COMPLETE", "bash_complete")
    seen = imported_by()
    assert seen["status"] == 0
    assert [line.removeprefix("plain,") for line in seen["output"].split()] == offered
    assert [name for name in HEAVY if name in seen["modules"]] == []
