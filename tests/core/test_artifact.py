from __future__ import annotations

import json
import math
import subprocess
import sys

import numpy as np
import pytest
import torch

from sciml import artifact

TENSORS = {"weight": torch.arange(6, dtype=torch.float64).reshape(2, 3), "mask": torch.tensor([True, False])}
MANIFEST = {
    "surrogate": "toy",
    "distribution": "toys",
    "config": {},
    "spec": {},
    "domain": {},
    "provenance": {"rmse": math.nan, "seed": np.int64(5), "shape": np.ones(2)},
}


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "surrogate"
    artifact.write_artifact(path, MANIFEST, TENSORS)
    return path


def leftovers(path):
    return [item.name for item in path.iterdir() if item.name.endswith(".tmp")]


def test_artifact_gives_back_manifest_and_tensors_to_the_bit(folder):
    manifest, tensors = artifact.read_artifact(folder)
    assert {item.name for item in folder.iterdir()} == {"manifest.json", "weights.safetensors"}
    assert manifest["provenance"] == {"rmse": None, "seed": 5, "shape": [1.0, 1.0]}
    for name, tensor in TENSORS.items():
        assert tensors[name].dtype == tensor.dtype
        assert torch.equal(tensors[name], tensor)


def test_tensors_that_share_or_skip_memory_are_stored_apart(tmp_path):
    base = torch.arange(12.0).reshape(3, 4)
    artifact.write_tensors(tmp_path / "t", {"a": base, "b": base, "c": base.T, "d": base[:, ::2]})
    again = artifact.read_tensors(tmp_path / "t")
    assert torch.equal(again["c"], base.T)
    assert torch.equal(again["d"], base[:, ::2])


def test_tensors_of_a_type_that_the_format_lacks_are_refused_in_one_sentence(tmp_path):
    with pytest.raises(
        TypeError, match=r"/t: expected tensors of a type .*, got torch\.complex128; store views as real"
    ):
        artifact.write_tensors(tmp_path / "t", {"a": torch.zeros(2, dtype=torch.complex128)})
    assert list(tmp_path.iterdir()) == []


def test_artifact_is_light_to_import():
    code = "import sciml.artifact, sys; assert not {'torch', 'safetensors', 'numpy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_atomic_folder_leaves_the_old_one_when_the_writer_fails(folder):
    before = (folder / "manifest.json").read_bytes()

    def write_half():
        with artifact.atomic_folder(folder) as temporary:
            (temporary / "manifest.json").write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert (folder / "manifest.json").read_bytes() == before
    assert not leftovers(folder.parent)


def test_atomic_folder_puts_the_old_one_back_when_the_swap_fails(folder, monkeypatch):
    import os

    before, replace = (folder / "manifest.json").read_bytes(), os.replace

    def fail_into_place(source, target):
        if str(source).endswith(".tmp") and target == folder and not (folder.parent / "failed").exists():
            (folder.parent / "failed").touch()
            raise OSError("disk full")
        replace(source, target)

    monkeypatch.setattr(os, "replace", fail_into_place)
    with pytest.raises(OSError, match="disk full"):
        artifact.write_artifact(folder, {**MANIFEST, "config": {"new": 1}}, TENSORS)
    assert (folder / "manifest.json").read_bytes() == before
    assert not leftovers(folder.parent)


def test_atomic_file_leaves_the_old_one_when_the_content_is_refused(tmp_path):
    path = tmp_path / "data.json"
    artifact.write_json(path, {"a": 1})

    def write_half():
        with artifact.atomic_file(path) as temporary:
            temporary.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_half()
    assert artifact.read_json(path) == {"a": 1}
    assert not leftovers(tmp_path)


def test_artifact_replaces_an_artifact_and_nothing_else(folder, tmp_path):
    artifact.write_artifact(folder, {**MANIFEST, "config": {"new": 1}}, TENSORS)
    assert artifact.read_artifact(folder)[0]["config"] == {"new": 1}
    project = tmp_path / "web"
    project.mkdir()
    (project / "manifest.json").write_text("{}")
    (project / "thesis.tex").write_text("years of work")
    (tmp_path / "file").write_text("x")
    for path in (project, tmp_path / "file"):
        with pytest.raises(ValueError, match="expected an empty folder or a saved surrogate, got something else"):
            artifact.write_artifact(path, MANIFEST, TENSORS)
    assert (project / "thesis.tex").read_text() == "years of work"


def edit(folder, **changes):
    path = folder / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_artifact_of_another_version_format_or_keys_is_refused(folder):
    edit(folder, version=2)
    with pytest.raises(ValueError, match="expected artifact version 1, got 2; update sciml-toolkit"):
        artifact.read_artifact(folder)
    edit(folder, version=1, surprise="x")
    with pytest.raises(ValueError, match=r"got a difference of \['surprise'\]"):
        artifact.read_artifact(folder)
    edit(folder, format="another")
    with pytest.raises(ValueError, match="expected format 'sciml-surrogate', got something else"):
        artifact.read_artifact(folder)
    (folder / "manifest.json").write_text("[1, 2")
    with pytest.raises(ValueError, match=r"manifest\.json: expected a readable JSON file"):
        artifact.read_artifact(folder)
    with pytest.raises(ValueError, match=r"expected a folder with manifest\.json, got none"):
        artifact.read_artifact(folder / "nowhere")


@pytest.mark.parametrize("keep", [0, 5, 60, -1])
def test_weights_cut_anywhere_are_refused(folder, keep):
    path = folder / "weights.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"weights\.safetensors: expected a complete safetensors file"):
        artifact.read_artifact(folder)


def test_weights_with_any_flipped_byte_are_refused(folder):
    path = folder / "weights.safetensors"
    content = path.read_bytes()
    for position in range(0, len(content), 7):
        path.write_bytes(content[:position] + bytes([content[position] ^ 4]) + content[position + 1 :])
        with pytest.raises(ValueError, match=r"weights\.safetensors"):
            artifact.read_artifact(folder)


def test_json_writes_what_is_not_finite_as_it_is_told(tmp_path):
    artifact.write_json(tmp_path / "a.json", {"a": [math.inf, np.float32(-math.inf)], "b": math.nan}, non_finite=str)
    assert artifact.read_json(tmp_path / "a.json") == {"a": ["Infinity", "-Infinity"], "b": "NaN"}


def test_json_writes_numpy_and_refuses_nothing_silently(tmp_path):
    artifact.write_json(tmp_path / "a.json", {"f": np.float32(0.5), "i": np.arange(2), "inf": math.inf, 3: (1, True)})
    assert artifact.read_json(tmp_path / "a.json") == {"f": 0.5, "i": [0, 1], "inf": None, "3": [1, True]}
