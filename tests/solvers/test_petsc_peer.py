"""PETSc in a process of its own: what goes there and what comes back."""

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import sciml_solvers.petsc_peer as petsc_peer
from sciml_solvers.baselines import measure
from sciml_solvers.gallery import problem
from sciml_solvers.petsc_peer import PetscPeer, Spent, interpreter
from sciml_solvers.problems import MaskProblem
from sciml_solvers.solution import Status


def peer_of(matrix, kind="gamg"):
    return PetscPeer(kind, matrix.data, matrix.indices, matrix.indptr)


def need_petsc(kind):
    try:
        interpreter(kind)
    except ImportError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("kind", ["hypre", "gamg"])
@pytest.mark.parametrize("name", ["solids", "neumann", "two_components", "jumps"])
def test_petsc_reaches_the_true_residual(kind, name):
    need_petsc(kind)
    found = measure(f"petsc_{kind}", problem(name, 12), 1e-8, n_repeats=1)
    assert found.status is Status.CONVERGED
    assert 0 < found.residual_true <= 1e-8
    assert found.iterations > 0
    assert min(found.setup_s, found.solve_s) > 0


def test_petsc_solves_every_right_hand_side():
    need_petsc("gamg")
    made = problem("dam", 12, 2)
    several = MaskProblem("several", made.cells, np.stack([made.rhs, -2 * made.rhs, 0 * made.rhs]))
    found = measure("petsc_gamg", several, 1e-8, n_repeats=1)
    assert found.status is Status.CONVERGED
    assert found.iterations == measure("petsc_gamg", made, 1e-8, n_repeats=1).iterations


def test_where_petsc_is_absent_one_sentence_says_so(monkeypatch):
    monkeypatch.setattr(petsc_peer, "SYSTEM_PYTHON", "/nowhere/python3")
    monkeypatch.setattr(petsc_peer.sys, "executable", "/nowhere/python")
    with pytest.raises(
        ImportError, match=r"petsc_gamg: expected petsc4py in this Python or in .*; install it with: apt"
    ):
        interpreter.__wrapped__("gamg")


def test_process_that_fails_is_told_with_its_words(monkeypatch):
    monkeypatch.setattr(petsc_peer, "interpreter", lambda kind: ("python", ""))
    monkeypatch.setattr(petsc_peer.subprocess, "run", lambda *_, **__: SimpleNamespace(returncode=1, stderr="no room"))
    matrix = problem("dam", 8, 2).matrix()
    with pytest.raises(RuntimeError, match="petsc_gamg: expected an answer, got: no room"):
        peer_of(matrix)(np.ones(matrix.shape[0]), 1e-6)


def test_matrix_and_answer_travel_in_files_and_set_up_counts_once(monkeypatch):
    matrix = problem("dam", 8, 2).matrix()
    seen = []

    def process(command, **_):
        folder = Path(command[2])
        given = {path.stem: np.load(path) for path in folder.glob("*.npy")}
        seen.append((given, command[3:]))
        np.save(folder / "x.npy", 3 * given["b"])
        spent = Spent(1.0, 2.0, 10.0 * len(seen), 20.0, 100 * len(seen))
        (folder / "told.json").write_text(json.dumps({"iterations": 7, "spent": vars(spent)}))
        return SimpleNamespace(returncode=0)

    monkeypatch.setattr(petsc_peer, "interpreter", lambda kind: ("python", ""))
    monkeypatch.setattr(petsc_peer.subprocess, "run", process)
    peer, b = peer_of(matrix), np.random.default_rng(5).standard_normal(matrix.shape[0])
    for _ in range(2):
        x, iterations = peer(b, 1e-6)
        np.testing.assert_array_equal(x, 3 * b)
        assert iterations == 7
    given, words = seen[0]
    assert words == ["gamg", "1e-06"]
    for name in ("data", "indices", "indptr"):
        np.testing.assert_array_equal(given[name], getattr(matrix, name))
    assert not given["label"].any()
    assert peer.spent == Spent(1.0, 2.0, 30.0, 40.0, 200)
