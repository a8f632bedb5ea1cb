"""The wave step: assembled operator, oscillator of fourth order, adjoint, walls that only take energy, bad requests."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from sciml_kernels import ops, use_backend
from sciml_kernels.testing import nan_scratch, relative_error
from sciml_kernels.wave_step import Medium, prepare, wave_step
from sciml_kernels.wave_step.layout import field_views

SPEC = ops()["wave_step"]
NONE = torch.zeros(0, dtype=torch.float64)
# Sizes that are no multiples of a tile, and a seam with both ends inside.
ROOM = {"source": 3, "x": 5, "y": 7, "block": 3, "step": 4, "damped": 2}


def drawn(seed, dtype=torch.float64, **size):
    generator = torch.Generator().manual_seed(seed)
    inputs = SPEC.cases.make_inputs(generator, {**ROOM, **size})
    return {k: v.to(dtype) if isinstance(v, torch.Tensor) else v for k, v in inputs.items()}


def medium_of(inputs):
    return Medium(**{name: inputs[name] for name in Medium._fields})


def line(n, size):
    """Return lumped masses and the stiffness of linear elements on a line of n nodes."""
    mass = np.full(n, size)
    mass[[0, -1]] /= 2
    stiffness = (np.diag(np.full(n, 2.0)) - np.eye(n, k=1) - np.eye(n, k=-1)) / size
    stiffness[0, 0] = stiffness[-1, -1] = 1 / size
    return mass, stiffness


def room(n_x, n_y, dt, damping=None):
    """Return masses, stiffness and the medium of a room of one block with spacing 1 and speed 1."""
    (m_x, k_x), (m_y, k_y) = line(n_x, 1.0), line(n_y, 1.0)
    along_x, along_y = k_x / m_x[:, None], (k_y / m_y[:, None]).T
    matrices = torch.from_numpy(np.concatenate([along_x.ravel(), along_y.ravel()]))
    operators = torch.stack([-(dt**2) / 12 * matrices, -dt * matrices])
    drift, decay = torch.tensor([dt], dtype=torch.float64), NONE
    if damping is not None:
        decay = torch.from_numpy(np.exp(-damping * dt).ravel())
        drift = torch.from_numpy((-np.expm1(-damping * dt) / damping).ravel())
    stiffness = np.kron(k_x, np.diag(m_y)) + np.kron(np.diag(m_x), k_y)
    return (
        np.kron(m_x, m_y),
        stiffness,
        Medium(operators, drift, decay, NONE, (n_x, n_y), ()),
    )


def random_state(seed, n_entry):
    return torch.rand(2, n_entry, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 0.5


def test_step_applies_the_assembled_operator():
    dt, n_x, n_y = 0.3, 6, 4
    mass, stiffness, medium = room(n_x, n_y, dt)
    state = random_state(5, n_x * n_y)
    p, v, before = wave_step(state, *medium)
    operator = torch.from_numpy(stiffness / mass[:, None])
    wanted = state[0] + dt * state[1]
    inner = wanted - dt**2 / 12 * operator @ wanted
    torch.testing.assert_close(p, wanted, rtol=0, atol=1e-14)
    torch.testing.assert_close(v, state[1] - dt * operator @ inner, rtol=0, atol=1e-14)
    assert torch.equal(before, state[1])


def test_a_room_cut_in_two_equals_the_room_in_one():
    dt, n_left, n_right, n_y = 0.3, 4, 5, 3
    _, _, whole = room(n_left + n_right - 1, n_y, dt)
    halves = [room(n, n_y, dt)[2] for n in (n_left, n_right)]
    # Both ends of the cut hold half an element each: equal shares of the mass.
    cut = Medium(
        torch.cat([half.operators for half in halves], 1), whole.drift, NONE, torch.full((n_y,), 0.5).double(),
        (n_left, n_y, n_right, n_y), (0, 1, 0, 0, n_y),
    )  # fmt: skip
    field = random_state(6, (n_left + n_right - 1) * n_y).view(2, -1, n_y)
    parts = torch.cat([field[:, :n_left].flatten(1), field[:, n_left - 1 :].flatten(1)], 1)
    wanted = wave_step(field.flatten(1), *whole, n_step=9).view(3, -1, n_y)
    found = wave_step(parts, *cut, n_step=9)
    left, right = zip(*(field_views(row, cut.blocks) for row in found), strict=True)
    torch.testing.assert_close(torch.stack(left)[:, :, 0], wanted[:, :n_left], rtol=0, atol=1e-13)
    torch.testing.assert_close(torch.stack(right)[:, :, 0], wanted[:, n_left - 1 :], rtol=0, atol=1e-13)


def test_an_oscillator_from_rest_is_followed_to_fourth_order():
    errors = []
    for n_step in (16, 32, 64):
        dt = 2.0 / n_step
        operators = torch.tensor([[-(dt**2) / 12, 0.0], [-dt, 0.0]], dtype=torch.float64)
        start = torch.tensor([[1.0], [0.0]], dtype=torch.float64)
        steps = prepare(start, Medium(operators, torch.tensor([dt]).double(), NONE, NONE, (1, 1), ()))
        steps.advance(1)
        steps.velocity.flat.mul_(0.5)
        steps.advance(n_step)
        errors.append(abs(float(steps.pressure.flat[0]) - np.cos(2.0)))
    assert np.all(np.diff(np.log2(errors)) < -3.9), errors


def test_step_is_self_adjoint_in_the_mass_and_reversible():
    n_x, n_y, dt = 5, 4, 0.4
    mass, _, medium = room(n_x, n_y, dt)
    weights, zero = torch.from_numpy(mass), torch.zeros(n_x * n_y, dtype=torch.float64)
    a, b = random_state(7, n_x * n_y)

    def kicked(field):
        return wave_step(torch.stack([field, zero]), *medium)[1]

    torch.testing.assert_close((weights * b) @ kicked(a), (weights * a) @ kicked(b), rtol=1e-12, atol=0)
    # Back from where a step ended: the same kick taken away, then the drift.
    p, v, before = wave_step(torch.stack([a, b]), *medium, n_step=1)
    torch.testing.assert_close(v - kicked(p), before, rtol=0, atol=1e-13)
    torch.testing.assert_close(p - dt * before, a, rtol=0, atol=1e-13)


@pytest.mark.parametrize("damped", [0, 1, 2])
def test_gradient_by_the_state_is_the_adjoint_of_the_linear_map(damped):
    inputs = drawn(8, damped=damped)
    tangent = drawn(9, damped=damped)["state"]
    state = inputs["state"].requires_grad_()
    out = wave_step(*inputs.values())
    cotangent = torch.rand(out.shape, generator=torch.Generator().manual_seed(10), dtype=torch.float64)
    (pulled,) = torch.autograd.grad(out, state, cotangent)
    pushed = wave_step(*{**inputs, "state": tangent}.values())
    torch.testing.assert_close((pulled * tangent).sum(), (cotangent * pushed).sum(), rtol=1e-12, atol=0)


def test_walls_take_energy_and_never_give_it():
    n_x, n_y, dt = 6, 5, 0.5
    damping = np.full((n_x, n_y), 1e-12)
    damping[0], damping[:, -1] = 3.0, 40.0
    mass, stiffness, medium = room(n_x, n_y, dt, damping)
    operator = torch.from_numpy(stiffness / mass[:, None])
    steps = prepare(random_state(11, n_x * n_y), medium)
    energies = []
    for _ in range(40):
        steps.advance(1)
        p, v, phi = steps.pressure.flat, steps.velocity.flat, medium.drift
        force = operator @ (p - dt**2 / 12 * operator @ p)
        kinetic = phi * (1 + medium.decay) / (2 * dt) * v**2
        energies.append(float((torch.from_numpy(mass) * (kinetic + (p + phi * v) * force)).sum()))
    assert np.all(np.diff(energies) <= 1e-14 * energies[0])
    assert 0 < energies[-1] < 0.9 * energies[0]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("damped", [0, 1, 2])
def test_prepared_steps_equal_calls_to_the_bit(damped, dtype):
    inputs = drawn(12, dtype, damped=damped)
    with nan_scratch():
        steps = prepare(inputs["state"], medium_of(inputs))
        steps.advance(inputs["n_step"])
    found = torch.stack([field.flat for field in (steps.pressure, steps.velocity, steps.before)]).to(dtype)
    assert torch.equal(found, wave_step(*inputs.values()))


def test_many_steps_in_a_call_equal_many_calls_to_the_bit():
    inputs = drawn(13)
    state = inputs["state"]
    for _ in range(inputs["n_step"]):
        state = wave_step(state[:2], *medium_of(inputs))
    assert torch.equal(state, wave_step(*inputs.values()))


def test_sources_do_not_know_of_each_other():
    inputs = drawn(14)
    together = wave_step(*inputs.values())
    shares = [field_views(row, inputs["blocks"]) for row in inputs["state"]]
    alone = torch.stack([torch.cat([view[:, 1].flatten() for view in views]) for views in shares])
    found = wave_step(*{**inputs, "state": alone}.values())
    for row, wanted in zip(found, together, strict=True):
        picked = torch.cat([view[:, 1].flatten() for view in field_views(wanted, inputs["blocks"])])
        torch.testing.assert_close(row, picked, rtol=0, atol=1e-13)


@pytest.mark.parametrize("size", [{"x": 35, "y": 33, "block": 1, "source": 1, "step": 1}, {"y": 1, "block": 1}, {}])
def test_prepared_triton_steps_equal_the_reference(size, triton_device):
    inputs = {
        k: v.to(triton_device) if isinstance(v, torch.Tensor) else v
        for k, v in drawn(15, torch.float32, **size).items()
    }
    with use_backend("triton"), nan_scratch():
        steps = prepare(inputs["state"], medium_of(inputs))
        steps.advance(inputs["n_step"])
    fields = torch.stack([field.flat for field in (steps.pressure, steps.velocity, steps.before)])
    assert relative_error(fields, SPEC.reference(*inputs.values())) <= SPEC.tolerances[torch.float32]


def test_no_source_and_a_single_node_are_answered():
    inputs = drawn(16, source=0)
    assert wave_step(*inputs.values()).shape == (3, 0)
    prepare(inputs["state"], medium_of(inputs)).advance(3)


COMPILE = """
import triton.language as tl
from sciml_kernels.triton_tools import compile_ahead
from sciml_kernels.wave_step import triton_kernel as steps
for stored, capability, acc in (("fp32", 80, tl.float32), ("fp64", 80, tl.float64), ("fp32", 90, tl.float32)):
    types = lambda *names: dict.fromkeys(names, "*" + stored) | {"table": "*i64"}
    fields = types("p", "v", "drift", "decay")
    for one, n_decay in ((True, 0), (False, 2)):
        constants = {"ONE_DRIFT": one, "N_DECAY": n_decay, "BLOCK": 512}
        assert compile_ahead(steps.drift_kernel, fields, constants, capability)
    products = types("out", "start", "u", "operators")
    assert compile_ahead(steps.product_kernel, products, {"ACC": acc, "TILE": 32}, capability)
    assert compile_ahead(steps.seam_kernel, types("field", "share"), {"BLOCK": 512}, capability)
print("compiled")
"""


def test_wave_kernels_compile_for_gpus_that_are_not_here(tmp_path):
    pytest.importorskip("triton", reason="triton is not installed on this platform")
    # In a process of its own: here the kernels may have been loaded for the interpreter, which compiles nothing.
    kept = {key: value for key, value in os.environ.items() if key != "TRITON_INTERPRET"}
    done = subprocess.run(
        [sys.executable, "-c", COMPILE],
        capture_output=True,
        text=True,
        check=False,
        env={**kept, "TRITON_CACHE_DIR": str(tmp_path)},
    )
    assert done.stdout.strip() == "compiled", done.stderr


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"n_step": 0}, "expected n_step of at least 1, got 0"),
        ({"blocks": []}, r"expected n_x and n_y of at least 1 for each block, got \[\]"),
        ({"blocks": [5, 7, 0, 8, 5, 9]}, "expected n_x and n_y of at least 1"),
        ({"seams": [0, 1, 0]}, "expected five entries for each seam, got 3"),
        ({"seams": [0, 3, 0, 0, 2]}, "expected blocks of seam 0 from 0 to 2, got 0 and 3"),
        ({"seams": [-1, 1, 0, 0, 2]}, "expected blocks of seam 0 from 0 to 2, got -1 and 1"),
        ({"seams": [0, 1, 0, 0, 8]}, "expected nodes of seam 0 from 0 to 6 in block 0, got 0 to 7"),
        ({"seams": [0, 1, 0, -1, 2]}, "expected nodes of seam 0 from 0 to 7 in block 1, got -1 to 0"),
        ({"seams": [0, 1, 0, 0, 0]}, "expected nodes of seam 0"),
        ({"seams": [0, 1, 0, 0, 3, 0, 2, 2, 0, 3]}, r"share no node, got \(0, 4, 2\) \(block, column, node\) again in"),
        ({"state": torch.zeros(2, 7)}, r"state of shape \(2, sources times 120 nodes\), got \(2, 7\)"),
        ({"state": torch.zeros(3, 120)}, r"state of shape \(2, sources times 120 nodes\), got \(3, 120\)"),
        ({"state": torch.zeros(120)}, r"expected state of shape \(2, entry\)"),
        ({"operators": torch.zeros(2, 5)}, "expected operators of shape"),
        ({"drift": torch.zeros(0)}, r"expected drift of shape \(node=120\), got \(0,\)"),
        ({"decay": torch.zeros(119)}, r"expected decay of shape \(node=120\), got \(119,\)"),
        ({"share": torch.zeros(1)}, "expected share of shape"),
        ({"share": torch.zeros(13, device="meta")}, "expected share on cpu as state is, got meta"),
    ],
)
def test_bad_rooms_are_refused_before_anything_runs(changes, sentence):
    inputs = {**drawn(17, torch.float32), **changes}
    with pytest.raises(ValueError, match=f"wave_step: .*{sentence}"):
        wave_step(*inputs.values())
    if "n_step" not in changes:
        with pytest.raises(ValueError, match=f"wave_step: .*{sentence}"):
            prepare(inputs["state"], medium_of(inputs))


def test_wrong_types_are_refused_before_anything_runs():
    inputs = drawn(18, torch.float32)
    with pytest.raises(TypeError, match="expected drift of type float32 as state is, got float64"):
        wave_step(*{**inputs, "drift": inputs["drift"].double()}.values())
    with pytest.raises(TypeError, match=r"expected state of type .*, got int64"):
        wave_step(*{**inputs, "state": inputs["state"].long()}.values())
