"""Cards: round trip, and every disagreement with the files is named."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sciml_datasets import DatasetCard, Provenance, Sampling, check_card, read_card, write_card, write_store

from sciml.fields import FieldSpec, Region

FIELDS = (
    FieldSpec("pressure", ("source", "time", "node"), "Pa", Region.interval(-100, 100), "sound pressure"),
    FieldSpec("amplitude", ("source",), "Pa", None, 'of the "pulse"'),
    FieldSpec("node_position", ("node", "axis"), "m", Region((((-9, -9), (9, 9)),))),
    FieldSpec("time", ("time",), "seconds"),
)
CARD = DatasetCard(
    name="rooms",
    title="Small rooms",
    provenance=Provenance("CC-BY-4.0", "generated", "wave 1.0", "2 CPU minutes"),
    sampling=Sampling(
        "source", {"train": 6, "test": 4}, {"nodes": 4, "kind": "random", "box [m]": [[0.0, 0.0], [1.0, 1.0]]}
    ),
    fields=FIELDS,
    body="# Rooms\n\n## Equations\n\np_tt = c^2 laplace p",
)


@pytest.fixture
def folder(tmp_path, labelled):
    write_store(tmp_path / "train.nc", labelled(6, seed=3))
    write_store(tmp_path / "test.nc", labelled(4, seed=5).assign(node_position=labelled(6, seed=3).node_position))
    write_card(tmp_path, CARD)
    return tmp_path


def test_a_card_that_agrees_with_its_files_has_no_problem(folder):
    assert check_card(folder) == []
    assert read_card(folder) == CARD


@settings(max_examples=60, deadline=None)
@given(st.text(st.characters(codec="utf-8"), max_size=20), st.floats(allow_nan=False), st.text(min_size=1, max_size=5))
def test_any_text_and_number_survives_the_card(tmp_path_factory, text, number, key):
    folder = tmp_path_factory.mktemp("card")
    sampling = Sampling("source", {"train": 6}, {key: [number, text], "flag": True})
    card = replace(CARD, title=text, sampling=sampling, fields=(replace(FIELDS[1], description=text),))
    write_card(folder, card)
    assert read_card(folder) == card


def other(folder, **changes):
    write_card(folder, replace(CARD, **changes))


def field(i, **changes):
    return (*FIELDS[:i], replace(FIELDS[i], **changes), *FIELDS[i + 1 :])


@pytest.mark.parametrize(
    ("changes", "sentences"),
    [
        ({"body": "# Rooms"}, ["README.md: expected a section '## Equations', got none; write it"]),
        ({"title": ""}, ["README.md: expected a text for 'title', got none; fill it in"]),
        ({"fields": field(0, unit="bar", bounds=None)}, ["'pressure': expected the unit 'bar', got 'Pa'"] * 2),
        ({"fields": field(0, dims=("source", "node", "time"))}, ["'pressure': expected dims"] * 2),
        (
            {"fields": field(1, name="gain")},
            ["only variables of the card, got 'amplitude'", "'gain': expected a variable"] * 2,
        ),
        ({"fields": field(0, bounds=Region.interval(-1, 1))}, [r"inside \[-1, 1\] Pa, got \d+ outside"] * 2),
        ({"sampling": Sampling("source", {"train": 5, "test": 4})}, ["expected 5 samples along 'source', got 6"]),
        (
            {"sampling": Sampling("source", {"train": 6})},
            [r"expected the splits \['train'\], got files for \['test', 'train'\]"],
        ),
    ],
)
def test_each_disagreement_is_one_sentence(folder, changes, sentences):
    other(folder, **changes)
    problems = check_card(folder)
    assert len(problems) == len(sentences), problems
    for problem, sentence in zip(problems, sentences, strict=True):
        assert re.search(sentence, problem)


def test_nan_and_overlap_are_found_in_the_files(folder, labelled):
    test = labelled(4, seed=5)
    test["node_position"] = labelled(6, seed=3).node_position
    test.pressure[1, 2, 3] = np.nan
    write_store(folder / "test.nc", test)
    (problem,) = check_card(folder)
    assert (
        problem
        == f"{folder} test 'pressure': expected finite numbers, got NaN or infinity in 1 places; compute them again"
    )
    train = labelled(6, seed=3)
    write_store(folder / "test.nc", train.isel(source=[0, 2, 4, 5]).assign_coords(simulation=("source", list("abcd"))))
    (problem,) = check_card(folder)
    assert "expected splits without overlap, got 4 samples equal to the bit of 'test'; split again" in problem
    write_store(folder / "test.nc", test.fillna(0).assign_coords(simulation=train.simulation[:4]))
    (problem,) = check_card(folder)
    assert "got 4 simulations of 'test'; split again" in problem


def test_missing_truncated_and_broken_cards_and_files_are_named(folder):
    path = folder / "README.md"
    good = path.read_text()
    for text, sentence in [
        ("# Rooms", "expected TOML between two lines"),
        (good.replace('name = "rooms"', "name = rooms"), "expected TOML between the lines"),
        (good.replace('license = "CC-BY-4.0"\n', ""), r"got missing \['license'\] and unknown \[\]"),
        (good.replace("train = 6", 'train = "many"'), "expected fields with name, dims, unit and splits with counts"),
    ]:
        path.write_text(text)
        (problem,) = check_card(folder)
        assert problem.startswith(str(path))
        assert re.search(sentence, problem)
    path.write_text(good)
    (folder / "train.nc").write_bytes((folder / "train.nc").read_bytes()[:2000])
    (problem,) = check_card(folder)
    assert re.search("train.nc: expected a complete NetCDF-4 file", problem)
    path.unlink()
    (problem,) = check_card(folder)
    assert re.search("README.md: expected a data set card", problem)


def test_a_card_can_describe_published_files(tmp_path, published):
    published.write_room(tmp_path / "cube_train")
    published.write_room(tmp_path / "cube_val", 1, published.room(n_nodes=6))
    dims = {
        "pressure": ("source", "time", "node"),
        "initial_pressure": ("source", "sensor"),
        "source_position": ("source", "axis"),
        "node_position": ("node", "axis"),
        "sensor_position": ("sensor", "axis"),
    }
    fields = [FieldSpec(name, d, "Pa" if "pressure" in name else "m") for name, d in dims.items()]
    fields += [FieldSpec("connectivity", ("element", "vertex")), FieldSpec("time", ("time",), "s")]
    other(tmp_path, fields=tuple(fields), sampling=Sampling("source", {"train": 3, "val": 1}))
    problems = check_card(tmp_path)
    assert len(problems) == 1
    assert "got 1 simulations of 'train'; split again" in problems[0]
