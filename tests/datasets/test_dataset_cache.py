"""The cache: made once, verified, safe with two processes."""

from __future__ import annotations

import logging
import subprocess
import sys
from pathlib import Path

import pytest
from sciml_datasets.cache import cache_root, cached, key_digest

KEY = {"config": {"c": 343.0, "room": [2, 3]}, "seed": 7, "version": "1"}


class Maker:
    """Writes two files and counts how often it is asked."""

    def __init__(self):
        self.calls = 0

    def __call__(self, folder: Path) -> None:
        self.calls += 1
        (folder / "deep").mkdir()
        (folder / "deep" / "a.bin").write_bytes(b"numbers")
        (folder / "b.txt").write_text("words")


def test_an_entry_is_made_once_per_content_of_the_key(tmp_path):
    make = Maker()
    first = cached(tmp_path, KEY, make)
    assert (first / "deep" / "a.bin").read_bytes() == b"numbers"
    assert cached(tmp_path, dict(reversed(KEY.items())), make) == first
    assert make.calls == 1
    assert cached(tmp_path, {**KEY, "seed": 8}, make) != first
    assert make.calls == 2


def test_digest_is_the_hash_of_canonical_json():
    assert key_digest({"b": 1, "a": [1, 2]}) == key_digest({"a": (1, 2), "b": 1})
    assert key_digest({"a": 1}) == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    for bad in ({"a": float("nan")}, {"a": object()}):
        with pytest.raises(TypeError, match="cache key: expected plain JSON values, got"):
            key_digest(bad)


@pytest.mark.parametrize("damage", ["changed", "removed", "added", "no checksums", "broken checksums"])
def test_a_damaged_entry_is_made_again_with_a_warning(tmp_path, caplog, damage):
    make = Maker()
    entry = cached(tmp_path, KEY, make)
    match damage:
        case "changed":
            (entry / "b.txt").write_text("wordz")
        case "removed":
            (entry / "deep" / "a.bin").unlink()
        case "added":
            (entry / "c.txt").write_text("")
        case "no checksums":
            (entry / "checksums.json").unlink()
        case "broken checksums":
            (entry / "checksums.json").write_text("[")
    with caplog.at_level(logging.WARNING, logger="sciml_datasets.cache"):
        assert cached(tmp_path, KEY, make) == entry
    assert make.calls == 2
    assert "making the entry again" in caplog.text
    assert (entry / "b.txt").read_text() == "words"
    assert not (entry / "c.txt").exists()
    cached(tmp_path, KEY, make)
    assert make.calls == 2


def test_a_failing_maker_leaves_no_entry(tmp_path):
    def fail(folder: Path) -> None:
        (folder / "half.bin").write_bytes(b"1")
        raise RuntimeError("solver diverged")

    with pytest.raises(RuntimeError, match="solver diverged"):
        cached(tmp_path, KEY, fail)
    assert [path.name for path in tmp_path.iterdir()] == [f".{key_digest(KEY)}.lock"]


def test_root_comes_from_the_argument_the_environment_or_home(tmp_path, monkeypatch):
    monkeypatch.setenv("SCIML_CACHE", str(tmp_path / "env"))
    assert cache_root(tmp_path) == tmp_path
    assert cache_root() == tmp_path / "env"
    monkeypatch.delenv("SCIML_CACHE")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_root() == tmp_path / ".cache" / "sciml"


PROCESS = """
import os, sys, time
from pathlib import Path
from sciml_datasets.cache import cached

def make(folder):
    with open(sys.argv[1] + "/calls", "a") as file:
        file.write("x")
    (folder / "a.txt").write_text("first half, ")
    time.sleep(0.3)
    with (folder / "a.txt").open("a") as file:
        file.write("second half")

Path(sys.argv[1], f"ready{sys.argv[2]}").touch()
while not all(Path(sys.argv[1], f"ready{i}").exists() for i in range(2)):
    time.sleep(0.005)
print((cached(sys.argv[1] + "/cache", {"k": 1}, make) / "a.txt").read_text())
"""


def test_two_processes_make_one_entry_once(tmp_path):
    commands = [[sys.executable, "-c", PROCESS, str(tmp_path), str(i)] for i in range(2)]
    processes = [subprocess.Popen(c, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for c in commands]
    for process in processes:
        out, err = process.communicate()
        assert (process.returncode, out) == (0, "first half, second half\n"), err
    assert (tmp_path / "calls").read_text() == "x"
