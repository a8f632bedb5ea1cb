"""`sciml data`: exit statuses, one sentence per error, lightness of the import."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from click.testing import CliRunner
from sciml_datasets import DatasetCard, Provenance, Sampling, open_store, write_store
from sciml_datasets.cli import data
from sciml_datasets.formats import deeponet_acoustics

from sciml import plugins as discovery
from sciml.fields import FieldSpec
from sciml.hookspecs import Registration

CARD = DatasetCard(
    name="toy.waves",
    title="Waves",
    provenance=Provenance("MIT", "generated", "toy 1", "none"),
    sampling=Sampling("batch", {"train": 3}),
    fields=(FieldSpec("height", ("batch",), "m"),),
    body="## Equations\n\nh = random",
)


class Waves:
    """A registered data set of three numbers."""

    card = CARD

    def make(self, folder, *, seed, progress=None):
        values = np.random.default_rng(seed).normal(size=3)
        write_store(folder / "train.nc", xr.Dataset({"height": ("batch", values, {"units": "m"})}))


class Broken(Waves):
    """A data set whose files do not agree with its card."""

    def make(self, folder, *, seed, progress=None):
        write_store(folder / "train.nc", xr.Dataset({"height": ("batch", [1.0, np.nan], {"units": "mm"})}))


@pytest.fixture
def run(monkeypatch):
    found = discovery.Plugins([])
    plugin = discovery.Plugin("toy", "toy.hooks", "sciml-toy", "1.0")
    for name, summary in (("toy.waves", "three heights"), ("toy.broken", "two heights")):
        registration = Registration(name, f"{__name__}:{'Waves' if name == 'toy.waves' else 'Broken'}", summary)
        found.entries["datasets"][name] = discovery.Entry("datasets", registration, plugin)
    monkeypatch.setattr(discovery, "plugins", lambda: found)
    monkeypatch.setitem(sys.modules, __name__, SimpleNamespace(Waves=Waves, Broken=Broken))
    return lambda *arguments: CliRunner().invoke(data, [str(argument) for argument in arguments])


def test_list_names_the_registered_data_sets(run):
    result = run("list")
    assert result.exit_code == 0
    assert result.stdout.splitlines()[1].split() == ["toy.broken", "toy", "available", "two", "heights"]


def test_make_writes_card_and_files_that_depend_on_the_seed_alone(run, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        result = run("make", "toy.waves", "--out", tmp_path / name, "--seed", seed)
        assert (result.exit_code, result.stdout) == (0, f"{tmp_path / name}: no problem found\n"), result.output
    heights = [open_store(tmp_path / name / "train.nc").load().height for name in "abc"]
    assert heights[0].equals(heights[1])
    assert not heights[0].equals(heights[2])
    result = run("make", "toy.waves", "--out", tmp_path / "a")
    assert result.exit_code == 1
    assert "expected a new or empty folder, got one with content" in result.stderr
    result = run("make", "toy.wave", "--out", tmp_path / "d")
    assert result.exit_code == 1
    assert "did you mean toy.waves" in result.stderr
    assert run("make", "toy.waves").exit_code == 2


def test_check_lists_the_problems_and_fails(run, tmp_path):
    result = run("make", "toy.broken", "--out", tmp_path / "a")
    assert result.exit_code == 1
    again = run("check", tmp_path / "a")
    assert again.exit_code == 1
    assert again.stderr == result.stderr
    assert again.stderr == f"Error: {tmp_path / 'a'}: expected no problem, got 3; correct what is listed\n"
    assert all(word in again.stdout for word in ("3 samples", "the unit 'm', got 'mm'", "NaN or infinity in 1 places"))
    assert run("check", tmp_path / "absent").exit_code == 1


def test_check_reads_published_files_without_a_card(run, tmp_path, published):
    published.write_room(tmp_path / "room")
    assert run("check", tmp_path / "room").stdout == f"{tmp_path / 'room'}: no problem found\n"
    (tmp_path / "room" / "src1" / "src1.h5").write_bytes(b"")
    result = run("check", tmp_path / "room")
    assert result.exit_code == 1
    assert "src1.h5: expected a complete HDF5 file" in result.stdout


def test_convert_goes_both_ways_and_show_describes(run, tmp_path, published):
    published.write_room(tmp_path / "room" / "train")
    assert run("convert", tmp_path / "room", tmp_path / "store", "--to", "netcdf").exit_code == 0
    result = run("convert", tmp_path / "store", tmp_path / "back", "--to", "deeponet_acoustics")
    assert result.exit_code == 0, result.output
    assert "'source': 3" in result.stdout
    original, back = (deeponet_acoustics.read(tmp_path / name)["train"].load() for name in ("room", "back"))
    xr.testing.assert_identical(original, back)
    result = run("convert", tmp_path / "room", tmp_path / "half", "--to", "netcdf", "--dtype", "float16")
    assert result.exit_code == 0, result.output
    with open_store(tmp_path / "half" / "train.nc") as half:
        assert half.pressure.dtype == np.float16
        np.testing.assert_array_equal(half.pressure.values, original.pressure.values)
    for name in ("room", "store"):
        lines = run("show", tmp_path / name).stdout.splitlines()
        (line,) = [line.split() for line in lines if line.startswith("pressure ")]
        assert line == ["pressure", "source,", "time,", "node", "Pa", "float32", "420", "B"]
        assert any(line.strip() == "f_max = 1000.0" for line in lines)


def test_wrong_use_is_status_2_and_wrong_content_status_1_without_traceback(run, tmp_path, published):
    published.write_room(tmp_path / "room")
    assert run("convert", tmp_path / "room", tmp_path / "out", "--to", "vtk").exit_code == 2
    assert run("show").exit_code == 2
    for arguments in (
        ("convert", tmp_path / "absent", tmp_path / "out", "--to", "netcdf"),
        ("convert", tmp_path / "room", tmp_path / "room", "--to", "netcdf"),
        ("show", tmp_path),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert len(result.stderr.splitlines()) == 1
        assert "expected" in result.stderr
    for command in ("list", "make", "check", "convert", "show"):
        assert "Example: sciml data" in run(command, "--help").stdout


def test_importing_the_commands_loads_nothing_heavy():
    code = "import sys, sciml_datasets.cli; print({'torch', 'xarray', 'numpy', 'h5py', 'rich'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


def test_every_public_name_exists():
    import sciml_datasets

    assert all(getattr(sciml_datasets, name) for name in sciml_datasets.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'absent'"):
        sciml_datasets.absent  # noqa: B018
