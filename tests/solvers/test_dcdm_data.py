"""Ritz data, and training on it."""

import numpy as np
import pytest
import torch
from sciml_solvers.dcdm_data import Basis, lanczos, ritz
from sciml_solvers.dcdm_fit import (
    MINUTES_2D,
    DcdmFit,
    System,
    direction_loss,
    fit_direction,
    line_search_loss,
    to_torch,
)
from sciml_solvers.dcdm_net import Cells, DcdmNet
from sciml_solvers.problems import AIR, FLUID, MaskProblem
from scipy import sparse
from scipy.sparse.linalg import eigsh

from sciml.training import FitOptions, seeded


def problem(n=16):
    cells = np.full((n, n), FLUID, dtype=np.uint8)
    cells[:, -1] = AIR
    return MaskProblem("open", cells, np.zeros((n, n)))


def test_lanczos_keeps_its_basis_orthonormal_and_its_relation():
    matrix = problem().matrix()
    basis = Basis(matrix.shape[0], 2**24)
    # 220 steps of 240: by then the ends of the spectrum have converged long ago.
    alpha, beta = lanczos(matrix, np.random.default_rng(3).standard_normal(matrix.shape[0]), 220, basis)
    v = np.concatenate(list(basis.blocks()))
    t = np.diag(alpha) + np.diag(beta, 1) + np.diag(beta, -1)
    np.testing.assert_allclose(v @ v.T, np.eye(220), atol=1e-12)
    np.testing.assert_allclose(v @ (matrix @ v.T), t, atol=1e-11)


def test_ritz_values_at_the_ends_are_eigenvalues_and_none_comes_twice():
    matrix = problem(20).matrix()
    pairs = ritz(matrix, 200, seeded(4, "start"))
    low = np.sort(eigsh(matrix, 4, sigma=0, return_eigenvectors=False))
    high = np.sort(eigsh(matrix, 4, return_eigenvectors=False))
    np.testing.assert_allclose(pairs.values[:4], low, rtol=1e-9)
    np.testing.assert_allclose(pairs.values[-4:], high, rtol=1e-9)
    assert np.diff(pairs.values).min() > 1e-9
    q = pairs.vectors()
    np.testing.assert_allclose(q @ q.T, np.eye(len(q)), atol=1e-11)
    np.testing.assert_allclose((q * (matrix @ q.T).T).sum(1), pairs.values, rtol=1e-9)


def test_constant_mode_of_a_closed_box_is_left_out():
    closed = MaskProblem("closed", np.full((8, 8), FLUID, dtype=np.uint8), np.zeros((8, 8)))
    pairs = ritz(closed.matrix(), 40, seeded(4, "start"))
    assert pairs.values[0] > 1e-3
    samples = pairs.samples(5, seeded(1, "s")).double()
    assert samples.sum(1).abs().max() < 1e-4


def test_krylov_space_that_is_exhausted_ends_early():
    pairs = ritz(problem(4).matrix(), 12, seeded(4, "start"))
    np.testing.assert_allclose(pairs.values, np.linalg.eigvalsh(problem(4).matrix().toarray()), rtol=1e-9)
    assert len(ritz(sparse.identity(9, format="csr"), 9, seeded(4, "start")).values) == 1


def test_basis_on_disk_gives_the_same_ritz_pairs_within_its_memory(tmp_path):
    matrix = problem().matrix()
    n = matrix.shape[0]
    memory = 32 * n * 5  # four blocks of five vectors
    here = ritz(matrix, 64, seeded(4, "start"))
    there = ritz(matrix, 64, seeded(4, "start"), memory_bytes=memory, scratch=tmp_path)
    files = list(tmp_path.glob("*.npy"))
    assert len(files) == 9
    assert sum(block.nbytes for block in there.basis._blocks) <= memory
    np.testing.assert_allclose(there.values, here.values, rtol=1e-10)
    one, other = here.samples(3, seeded(2, "x")), there.samples(3, seeded(2, "x"))
    torch.testing.assert_close(one, other, rtol=0, atol=1e-6)


def test_basis_without_room_is_refused():
    matrix = problem().matrix()
    with pytest.raises(ValueError, match=r"Basis: expected memory_bytes of at least 7,680 bytes .*, got 100; raise it"):
        ritz(matrix, 10, seeded(1, "a"), memory_bytes=100)
    with pytest.raises(ValueError, match=r"Basis: expected a scratch folder beyond 4 vectors .*, got none"):
        ritz(matrix, 10, seeded(1, "a"), memory_bytes=32 * 240)
    with pytest.raises(ValueError, match="ritz: expected a square matrix and 1 <= n_vectors <= its size"):
        ritz(matrix, 1000, seeded(1, "a"))


def test_samples_have_unit_norm_and_the_law_of_the_coefficients():
    matrix = problem(20).matrix()
    pairs = ritz(matrix, 150, seeded(4, "start"))
    samples = pairs.samples(400, seeded(9, "b"), n_low=60)
    assert samples.dtype == torch.float32
    np.testing.assert_allclose(samples.double().norm(dim=1), 1, atol=1e-6)
    parts = (samples.double().numpy() @ pairs.vectors().T) ** 2
    # 60 modes of variance 81 against 90 of variance 1.
    share = parts[:, :60].sum(1).mean() / parts.sum(1).mean()
    assert share == pytest.approx(60 * 81 / (60 * 81 + 90), abs=0.003)
    flat = (pairs.samples(400, seeded(9, "b")).double().numpy() @ pairs.vectors().T) ** 2
    assert flat[:, :60].sum(1).mean() == pytest.approx(60 / 150, abs=0.02)  # m / 2 + 500 is all of them here
    again = pairs.samples(400, seeded(9, "b"), n_low=60)
    assert torch.equal(samples, again)


def open_system(n=16):
    one = problem(n)
    return System(one.matrix(), Cells.of_mask(one.fluid), ritz(one.matrix(), 50, seeded(4, "start")))


def test_loss_draws_its_samples_from_the_ritz_vectors():
    system, net = open_system(), DcdmNet(2, seed=3)
    got = direction_loss([system], DcdmFit(n_vectors=50, batch=3))(net, seeded(6, "step")).item()
    generator = seeded(6, "step")
    torch.randint(1, (), generator=generator)
    b = system.data.samples(3, generator)
    q = system.cells.to_vectors(net(residual=system.cells.to_grid(b))["direction"])
    assert got == pytest.approx(line_search_loss(to_torch(system.matrix), b, q).item(), rel=1e-6)
    other = direction_loss([system], DcdmFit(n_vectors=50, batch=3))(net, seeded(7, "step")).item()
    assert got != other


def trained(folder, n_taken):
    system, net = open_system(8), DcdmNet(2, seed=3)
    options = DcdmFit(n_vectors=50, batch=4, n_samples=24, learning_rate=1e-3, is_constant=False)
    states = fit_direction(net, [system], options, seed=5, fit_options=FitOptions(every=2, checkpoint=folder))
    rates = [state.learning_rate for _, state in zip(range(n_taken), states, strict=False)]
    return net, rates


def test_fit_resumes_to_the_same_weights_and_lowers_its_rate(tmp_path):
    whole, rates = trained(tmp_path / "whole", 99)
    assert len(rates) == 6
    assert rates[-1] < rates[0]
    trained(tmp_path / "cut", 3)
    resumed, rest = trained(tmp_path / "cut", 99)
    assert len(rest) == 4  # from the checkpoint of step 2 on
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])


def test_defaults_are_the_published_schedule():
    paper = DcdmFit()
    assert (paper.n_vectors, paper.batch, paper.learning_rate) == (10_000, 10, 1e-4)
    assert paper.n_steps == 1000 * 20_000 // 10
    assert MINUTES_2D.n_samples <= 100_000
    assert not MINUTES_2D.is_half  # as processors that do not multiply bfloat16 take ten times as long


def test_senseless_settings_are_refused():
    with pytest.raises(ValueError, match="DcdmFit: expected positive counts and learning_rate"):
        DcdmFit(batch=0)
    with pytest.raises(ValueError, match="direction_loss: expected at least one system, got none"):
        direction_loss([], DcdmFit())
