"""The cycle: symmetric, positive whatever its factors are, the same in plain torch and compiled."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_kernels import use_backend
from sciml_kernels.multigrid_cycle import multigrid_cycle
from sciml_kernels.multigrid_cycle.packed import pack
from sciml_kernels.multigrid_cycle.reference import prolong, restrict, vcycle_reference
from sciml_solvers.gallery import problem, random_mask
from sciml_solvers.multigrid import Multigrid
from sciml_solvers.problems import AIR, FLUID, SOLID, MaskProblem
from sciml_solvers.solve import iterate, unit
from sciml_solvers.system import grid_system

CLOSED = ("neumann", "two_components")


def dense(made, apply):
    """Return the matrix of an operator on the unknowns."""
    columns = torch.from_numpy(made.to_grid(np.eye(made.n_unknowns)))
    return made.to_vector(apply(columns).numpy())


def random_parameters(cycle, seed):
    generator = torch.Generator().manual_seed(seed)
    levels = cycle.hierarchy[:-1]
    return [
        (
            0.02 + 1.96 * torch.rand(level.omega.shape, generator=generator, dtype=torch.float64),
            0.3 + 2 * torch.rand((), generator=generator, dtype=torch.float64),
        )
        for level in levels
    ]


@pytest.mark.parametrize("seed", range(21, 27))
@pytest.mark.parametrize("shape", [(7, 6, 5), (11, 9)])
def test_operator_equals_the_assembled_matrix(seed, shape):
    made = random_mask(shape, np.random.default_rng(seed))
    system, a = grid_system(made), made.matrix().toarray()
    grids = made.to_grid(np.eye(made.n_unknowns)).reshape(-1, *system.diagonal.shape)
    applied = system.apply(torch.from_numpy(grids)).numpy().reshape(-1, *shape)
    assert np.allclose(made.to_vector(applied), a, rtol=0, atol=1e-13 * a.max())


@pytest.mark.parametrize("transfer", ["constant", "linear"])
@pytest.mark.parametrize("seed", range(31, 37))
def test_cycle_is_symmetric_and_positive_for_any_factors(seed, transfer):
    made = random_mask((9, 6, 7), np.random.default_rng(seed))
    plain = Multigrid(made, dtype=torch.float64)
    cycle = Multigrid(made, dtype=torch.float64, transfer=transfer, parameters=random_parameters(plain, seed))
    b = dense(made, cycle.apply)
    a = made.matrix().toarray()
    b, a = b[a.diagonal() > 0][:, a.diagonal() > 0], a[a.diagonal() > 0][:, a.diagonal() > 0]
    assert np.abs(b - b.T).max() <= 1e-11 * np.abs(b).max()
    root = np.sqrt(a.diagonal())
    assert np.linalg.eigvalsh(root[:, None] * b * root).min() > 0


@pytest.mark.parametrize("transfer", ["constant", "linear"])
@pytest.mark.parametrize("air", [True, False])
def test_cycle_is_symmetric_where_coarse_cells_are_closed(transfer, air):
    cells = np.full((12, 10, 9), FLUID, dtype=np.uint8)
    cells[4:8, 2:8, 0:6] = SOLID
    cells[0:2, 0:2, 0:4] = SOLID
    cells[5, 5, 3] = FLUID  # an unknown without open faces, inside of closed coarse cells
    if air:
        cells[..., -1] = AIR
    made = MaskProblem("closed", cells, np.zeros(cells.shape))
    cycle = Multigrid(made, dtype=torch.float64, transfer=transfer)
    assert not bool((cycle.hierarchy[1].diagonal > 0).all())
    b = dense(made, cycle.apply)
    assert np.abs(b - b.T).max() <= 1e-12 * np.abs(b).max()


@pytest.mark.parametrize("transfer", ["constant", "linear"])
@pytest.mark.parametrize("factors", [(2, 2, 2), (2, 1, 1), (1, 2, 1)])
def test_restriction_is_the_transpose_of_interpolation(transfer, factors):
    generator = torch.Generator().manual_seed(7)
    shape = (7, 6, 9)
    coarse = torch.randn(1, *(-(-n // f) for n, f in zip(shape, factors, strict=True)), generator=generator)
    fine = torch.randn(1, *shape, generator=generator)
    left = (restrict(fine.double(), factors, transfer) * coarse).sum()
    right = (fine * prolong(coarse.double(), factors, shape, transfer)).sum()
    assert float(left) == pytest.approx(float(right), rel=1e-12)


def test_interpolation_keeps_constants_and_linear_transfer_keeps_slopes_inside():
    ramp = torch.arange(6, dtype=torch.float64).reshape(1, 6, 1, 1)
    fine = prolong(ramp, (2, 1, 1), (12, 1, 1), "linear").flatten()
    assert torch.allclose(fine[1:-1].diff(), torch.full((9,), 0.5, dtype=torch.float64))
    for transfer in ("constant", "linear"):
        assert torch.allclose(prolong(torch.ones(1, 4, 3, 2), (2, 2, 2), (7, 6, 4), transfer), torch.ones(()))


@pytest.mark.parametrize("seed", range(41, 46))
@pytest.mark.parametrize("shape", [(9, 13, 7), (18, 21), (33, 26, 30)])
def test_compiled_cycle_equals_the_reference_to_rounding(seed, shape):
    made = random_mask(shape, np.random.default_rng(seed))
    plain = Multigrid(made, dtype=torch.float64)
    cycle = Multigrid(made, dtype=torch.float64, parameters=random_parameters(plain, seed))
    r = torch.from_numpy(made.to_grid(np.random.default_rng(seed).standard_normal((2, made.n_unknowns))))
    for given in (plain, cycle):
        with use_backend("reference"):
            wanted = given.apply(r)
        assert float((given.apply(r) - wanted).abs().max() / wanted.abs().max()) < 1e-12


def test_op_is_the_cycle_and_its_factors_can_be_trained():
    made = problem("solids", (9, 8, 10))
    cycle = Multigrid(made, dtype=torch.float64)
    r = torch.from_numpy(made.to_grid(np.random.default_rng(8).standard_normal((1, made.n_unknowns))))
    *tensors, factors = pack(cycle.hierarchy)
    assert torch.allclose(multigrid_cycle(r, *tensors, factors), cycle.apply(r), rtol=1e-12, atol=1e-14)
    omega = [torch.ones_like(level.omega).requires_grad_() for level in cycle.hierarchy[:-1]]
    pairs = [(grid, level.gain) for grid, level in zip(omega, cycle.hierarchy, strict=False)]
    learned = Multigrid(made, dtype=torch.float64, parameters=pairs)
    gradient = torch.autograd.grad(learned.apply(r).square().sum(), omega)
    step = 1e-6
    moved = [(grid.detach() + step * (level == 0), gain) for level, (grid, gain) in enumerate(pairs)]
    back = [(grid.detach() - step * (level == 0), gain) for level, (grid, gain) in enumerate(pairs)]
    up, down = (Multigrid(made, dtype=torch.float64, parameters=p).apply(r).square().sum() for p in (moved, back))
    assert float(up - down) / (2 * step) == pytest.approx(float(gradient[0].sum()), rel=1e-5)


@pytest.mark.parametrize("name", ["solids", "dam", "jumps", "anisotropic", *CLOSED])
@pytest.mark.parametrize("shape", [(10, 7, 9), (19, 14)])
def test_spectrum_of_the_preconditioned_matrix_is_narrow(name, shape):
    made = problem(name, shape)
    a = made.matrix().toarray()
    b = dense(made, Multigrid(made, dtype=torch.float64).apply)
    values = np.sort(np.linalg.eigvals(b @ a).real)
    kept = values[values > 1e-8 * values[-1]]
    assert kept[-1] / kept[0] < 40
    assert len(values) - len(kept) <= made.n_unknowns - np.linalg.matrix_rank(a)


def test_weak_axes_are_left_uncoarsened():
    made = problem("anisotropic", 16)
    factors = [level.factors for level in Multigrid(made).hierarchy[:-1]]
    assert factors[:2] == [(2, 1, 1), (2, 1, 1)]
    assert Multigrid(problem("empty", 16)).hierarchy[0].factors == (2, 2, 2)


def test_half_storage_changes_the_correction_by_its_rounding_only():
    made = problem("solids", 12)
    r = torch.from_numpy(made.to_grid(np.random.default_rng(9).standard_normal((1, made.n_unknowns)))) * 1e-9
    exact, half = (Multigrid(made, dtype=dtype).apply(r) for dtype in (torch.float64, torch.float16))
    assert 0 < float((half - exact).norm() / exact.norm()) < 5e-3


def stored_cycle(made, dtype):
    """Return the cycle with the hierarchy, the residual and the correction in a narrow type, scaled to order one."""
    faces, diagonal, *factors_and_gain, inverse, factors = pack(Multigrid(made).hierarchy)
    size = diagonal.max()
    stored = [t.to(dtype) for t in (faces / size, diagonal / size, *factors_and_gain, inverse * size)]

    def apply(r):
        scale = unit(r)
        return multigrid_cycle((r / scale).to(dtype), *stored, factors).to(r.dtype) * scale / size

    return apply


@pytest.mark.parametrize("name", ["solids", "dam", "neumann"])
def test_hierarchy_stored_in_a_half_type_costs_at_most_one_iteration(name):
    made = problem(name, 32)
    system = grid_system(made)
    b = torch.from_numpy(np.where(made.fluid, made.rhs, 0)).reshape(1, *system.diagonal.shape)
    types = torch.float32, torch.float16, torch.bfloat16
    full, half, coarse = (iterate(system, b, stored_cycle(made, dtype), 1e-6, 50) for dtype in types)
    assert full.converged
    assert half.converged
    assert coarse.converged
    assert half.iterations <= full.iterations + 1
    assert coarse.iterations <= full.iterations + 1


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"smoothing": (2, 1)}, "expected as many sweeps before as after"),
        ({"omega": 2.0}, "expected omega between 0 and 2, got 2.0"),
        ({"coarse_scale": 0.0}, "expected a positive coarse_scale"),
        ({"transfer": "cubic"}, "expected transfer constant or linear, got 'cubic'"),
        ({"parameters": []}, r"expected parameters for \d levels, got 0"),
    ],
)
def test_wrong_choice_is_told_what_was_expected(change, words):
    with pytest.raises(ValueError, match=f"^Multigrid: {words}"):
        Multigrid(problem("empty", 8), **change)


def test_reference_takes_batches_as_one_by_one():
    cycle = Multigrid(problem("smoke", (9, 7, 6)), dtype=torch.float64)
    active = cycle.hierarchy[0].diagonal > 0
    r = torch.randn(3, *active.shape, generator=torch.Generator().manual_seed(4), dtype=torch.float64) * active
    together = vcycle_reference(cycle.hierarchy, r)
    for one, z in zip(r, together, strict=True):
        assert torch.allclose(vcycle_reference(cycle.hierarchy, one[None])[0], z, rtol=1e-13, atol=1e-15)
