"""The examples run and print what they promise, and the plugin template works beside the installed toolkit."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
TEMPLATE = EXAMPLES / "plugin_template"


def python(*arguments, cwd, path=()):
    """Run Python in a process of its own that sees the folders of `path` and none of the caller's switches."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("SCIML_", "PYTEST_"))}
    clean |= {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "SCIML_CACHE": str(cwd / "cache")}
    clean["PYTHONPATH"] = os.pathsep.join(map(str, path))
    done = subprocess.run(
        [sys.executable, *map(str, arguments)], cwd=cwd, env=clean, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def number(pattern, text):
    found = re.search(pattern, text)
    assert found, text
    return float(found[1])


def test_every_example_is_short_says_what_it_shows_and_is_tested():
    scripts = sorted(EXAMPLES.glob("*.py"))
    assert scripts
    own = Path(__file__).read_text(encoding="utf-8")
    for script in scripts:
        text = script.read_text(encoding="utf-8")
        assert len(text.splitlines()) <= 120, script.name
        assert text.startswith('"""'), script.name
        assert f"python examples/{script.name}" in text
        assert "--smoke" in text
        assert f'EXAMPLES / "{script.name}"' in own, f"{script.name}: expected a test, got none; add one here"


def test_first_surrogate_is_accurate_saved_and_refuses_a_source_outside(tmp_path):
    out = python(EXAMPLES / "01_first_surrogate.py", "--smoke", "--out", tmp_path / "first", cwd=tmp_path)
    assert "predicted: ('source', 'receiver', 'time') in Pa" in out
    assert number(r"relative L2 error on held-out sources: (\S+)", out) < 0.02
    assert re.search(r"refused: input 'source_position': expected values inside the training domain .*\[0\.1, 1", out)
    assert {path.name for path in (tmp_path / "first" / "surrogate").iterdir()} == {
        "manifest.json",
        "weights.safetensors",
    }
    assert (tmp_path / "first" / "response.png").read_bytes().startswith(b"\x89PNG")


def test_own_data_in_the_published_layout_run_through_the_experiment(tmp_path):
    out = python(EXAMPLES / "02_own_data.py", "--smoke", "--out", tmp_path / "own", cwd=tmp_path)
    n_files = number(r"files: (\d+) in \S+, 0 problems", out)
    assert n_files == len(list((tmp_path / "own" / "data").rglob("*.h5")))
    metrics = json.loads((tmp_path / "own" / "run" / "metrics.json").read_text())
    for name in ("rel_l2_mean", "cubic_lookup_rel_l2_mean", "published_rel_l2_mean"):
        assert number(rf"(?m)^{name}: (\S+)$", out) == pytest.approx(metrics[name], abs=1e-4)
    assert metrics["rel_l2_mean"] < 0.03
    assert (tmp_path / "own" / "run" / "report.html").is_file()


def test_moving_receiver_hears_the_solver_and_gradient_descent_finds_the_source(tmp_path):
    out = python(EXAMPLES / "03_inside_a_time_loop.py", "--smoke", cwd=tmp_path)
    assert number(r"moving receiver: relative L2 error (\S+) over 25 steps", out) < 0.02
    found, start = (
        number(rf"{name}: (\S+) mm off", out) for name in ("3 receivers with noise", "best training source")
    )
    assert found < 15.0
    assert found < 0.5 * start


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Return the folders that installing the template would put on the path; the metadata is that of its pyproject."""
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    folder = tmp_path_factory.mktemp("site")
    info = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {target}" for name, target in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder, TEMPLATE


def command(*arguments, cwd, site):
    return python("-c", "from sciml.cli import main; main()", *arguments, cwd=cwd, path=site)


def test_template_shows_in_the_list_with_its_distribution(site, tmp_path):
    rows = json.loads(command("list", "--json", cwd=tmp_path, site=site))
    mine = {(row["kind"], row["name"]): row for row in rows if row["plugin"] == "heatrod"}
    assert set(mine) == {("experiments", "heatrod"), ("operators", "heatrod.series"), ("surrogates", "heatrod.modes")}
    assert {row["distribution"] for row in mine.values()} == {"sciml-heatrod"}
    assert all(row["available"] for row in mine.values())
    without = json.loads(command("list", "--json", cwd=tmp_path, site=()))
    assert not any(row["plugin"] == "heatrod" for row in without)


def test_template_runs_beats_its_lookup_and_its_surrogate_predicts(site, tmp_path):
    command("run", "heatrod", "--preset", "quick", "--out", "run", cwd=tmp_path, site=site)
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["rel_l2"] < 0.1 * metrics["lookup_rel_l2"]
    code = (
        "import sys, numpy as np, sciml\n"
        "from sciml_heatrod.experiment import sample\n"
        "from sciml_heatrod.series import Series\n"
        "data = sample(Series(), np.array([0.4137]), 200.0)\n"
        "data.drop_vars('temperature').to_netcdf('in.nc', engine='h5netcdf')\n"
        "answer = sciml.load('run/surrogate').predict(data)['temperature']\n"
        "print(float(abs(answer - data['temperature']).max()))"
    )
    assert float(python("-c", code, cwd=tmp_path, path=site)) < 5e-3
    command("predict", "run", "in.nc", "out.nc", cwd=tmp_path, site=site)
    assert (tmp_path / "out.nc").is_file()


def test_template_passes_check_and_its_own_tests(site, tmp_path):
    for name in ("heatrod", "heatrod.series"):
        out = command("check", name, cwd=tmp_path, site=site)
        assert "failed" not in out
        assert out.count("passed") >= 5
    out = python("-m", "pytest", "-q", "-p", "no:cacheprovider", TEMPLATE, cwd=tmp_path, path=site)
    assert re.search(r"\d+ passed", out)
    assert "skipped" not in out


def test_template_is_its_own_distribution_and_imports_public_names_only():
    project = tomllib.loads((TEMPLATE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert any(requirement.startswith("sciml-toolkit") for requirement in project["dependencies"])
    for path in TEMPLATE.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"(from|import) sciml(_\w+)?(\.\w+)*\._", text), path.name
        assert not re.search(r"(from|import) sciml_(?!heatrod)", text), path.name
