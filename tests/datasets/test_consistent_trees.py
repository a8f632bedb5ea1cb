"""Text of consistent-trees, written here as its files look."""

from __future__ import annotations

import os
import re

import numpy as np
import pytest
from sciml_datasets.formats import consistent_trees

REAL = os.environ.get("SCIML_CONSISTENT_TREES", "")
HEADER = (
    "#scale(0) desc_scale(1) id(2) desc_id(3) num_prog(4) pid(5) mvir(6) rvir(7) rs(8) vrms(9) mmp?(10) vmax(11) "
    "x(12) y(13) z(14) vx(15) vy(16) vz(17) Rs_Klypin A[x](500c)\n"
)
COMMENTS = "#Omega_M = 0.270000; Omega_L = 0.730000; h0 = 0.700000\n#Full box size = 250.000000 Mpc/h\n#ID: of halo\n"
BIG = 2**53 + 1  # the first integer that a floating-point number cannot hold


def halo(scale, own, descendant, *, pid=-1, mass=1e12, rs=20.0, main=1):
    """Return one line of the file."""
    numbers = [scale, 0.0, own, descendant, 1, pid, mass, 200.0, rs, 50.0, main, 150.0, 1.0, 2.0, 3.0, -4.0, 5.0, 6.0]
    return " ".join(str(number) for number in numbers) + f" {rs} 0.5\n"


def written(path, lines, header=HEADER + COMMENTS, n_tree=2):
    path.write_text(header + (f"{n_tree}\n" if n_tree else "") + "".join(lines))
    return path


GOOD = [
    "#tree 10\n", halo(1.0, 10, -1, mass=9e12), halo(0.9, 9, 10), halo(0.9, 8, 10, main=0, rs=40.0), halo(0.8, 7, 9),
    f"#tree {BIG}\n", halo(1.0, BIG, -1, pid=10), halo(0.9, BIG + 2, BIG),
]  # fmt: skip


def test_consistent_trees_are_read_with_exact_ids(tmp_path):
    dataset = consistent_trees.read(written(tmp_path / "tree_0_0_0.dat", GOOD))
    assert dataset["id"].values.tolist() == [10, 9, 8, 7, BIG, BIG + 2]
    assert dataset["descendant"].values.tolist() == [-1, 0, 0, 1, -1, 4]
    assert dataset["n_node"].values.tolist() == [4, 2]
    assert dataset["concentration"].values.tolist() == [10, 10, 5, 10, 10, 10]
    assert dataset["mass"].values[0] == 9e12
    assert dataset["is_subhalo"].values.tolist() == [0, 0, 0, 0, 1, 0]
    assert dataset["is_main"].values.tolist() == [1, 1, 0, 1, 1, 1]
    assert dataset["velocity"].values[0].tolist() == [-4, 5, 6]
    assert dataset["position"].attrs["units"] == "Mpc/h"
    assert dataset.attrs == {"Omega_m": 0.27, "h": 0.7, "box_size": 250.0}


def test_consistent_trees_in_any_order_and_without_marks_are_the_same(tmp_path):
    lines = [line for line in GOOD if line[0] != "#"]
    order = np.random.default_rng(3).permutation(len(lines))
    shuffled = consistent_trees.read(written(tmp_path / "a.dat", [lines[i] for i in order], n_tree=0))
    n_node = dict(zip(shuffled["id"].values[np.cumsum([0, *shuffled["n_node"].values])[:-1]].tolist(),
                      shuffled["n_node"].values.tolist(), strict=True))  # fmt: skip
    assert n_node == {10: 4, BIG: 2}
    own, descendant = shuffled["id"].values, shuffled["descendant"].values
    links = {int(a): int(own[b]) for a, b in zip(own, descendant, strict=True) if b >= 0}
    assert links == {9: 10, 8: 10, 7: 9, BIG + 2: BIG}


@pytest.mark.parametrize(("lines", "sentence"), [
    ([*GOOD, halo(0.8, 7, 9)], "expected an id of its own for each halo, got 1 repeated, the first 7"),
    ([*GOOD, halo(0.8, 6, 99)], r"the descendant of every halo in the file, got 1 without, the first id 6"),
    ([*GOOD, halo(0.8, 6, 9, rs=0.0)], "concentration: expected finite numbers, got 1 NaN or infinite"),
    ([*GOOD, halo(0.95, 6, 9)], "expected descendants that exist later than their progenitors, got 1"),
    ([*GOOD, halo(0.8, 6, 9)[:30]], "expected 20 numbers for each halo, got "),
    ([*GOOD, halo(0.8, 6, 9).replace("150.0", "fast")], "expected 20 numbers for each halo, got .*fast"),
    ([], "expected at least one halo, got none"),
])  # fmt: skip
def test_consistent_trees_bad_line_is_named_in_one_sentence(tmp_path, lines, sentence):
    path = written(tmp_path / "a.dat", lines)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{sentence}") as caught:
        consistent_trees.read(path)
    assert "\n" not in str(caught.value)


def test_consistent_trees_of_another_kind_are_refused(tmp_path):
    path = written(tmp_path / "a.dat", GOOD, header=HEADER.replace("desc_id(3)", "other(3)"))
    with pytest.raises(ValueError, match=r"expected a first line '#scale\(0\) id\(1\) ...' .*, got no desc_id"):
        consistent_trees.read(path)
    path.write_bytes(b"\xff\xfe\x00binary")
    with pytest.raises(ValueError, match="expected text of consistent-trees, got other bytes"):
        consistent_trees.read(path)
    path.write_text("")
    with pytest.raises(ValueError, match="expected a first line"):
        consistent_trees.read(path)
    with pytest.raises(ValueError, match="expected a file, got none there"):
        consistent_trees.read(tmp_path / "absent.dat")


@pytest.mark.skipif(not REAL, reason="SCIML_CONSISTENT_TREES names no file of consistent-trees")
def test_consistent_trees_real_file_is_whole():
    dataset = consistent_trees.read(REAL)
    assert int(dataset["n_node"].sum()) == dataset.sizes["node"] > 0
    assert (dataset["concentration"] > 1).all()
