"""The trainer oracles: sciml.fit passes them, and a trainer with one bug does not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sciml.testing.oracles import check_depth, check_trainer, singular_value, time_to_reach
from sciml.training import fit


def test_fit_follows_gradient_flow_with_first_order_error():
    reports = check_trainer(fit)
    assert [r.n_layers for r in reports] == [2, 3, 5]
    for report in reports:
        assert report.ratio == pytest.approx(2.0, abs=0.005)
        assert report.recurrence_error < 1e-13


def test_fit_reaches_half_in_the_time_of_the_flow_at_any_depth():
    errors = check_depth(fit)
    assert list(errors) == [5, 20, 50]
    assert max(errors.values()) < 0.002


def plain(module, loss, optimizer, n_steps, seed, scale=1.0, zero=True, decay=0.0, stale=False, momentum=0.0):
    """Descend by hand, with the bugs that the arguments name."""
    parameters = list(module.parameters())
    optimizer = torch.optim.SGD(parameters, lr=optimizer.param_groups[0]["lr"], weight_decay=decay, momentum=momentum)
    before = None
    for step in range(n_steps):
        if zero:
            optimizer.zero_grad()
        (scale * loss(module, torch.Generator())).backward()
        if stale:
            now = [p.grad.clone() for p in parameters]
            for p, old in zip(parameters, before or now, strict=True):
                p.grad = old
            before = now
        optimizer.step()
        yield step


def test_trainer_without_bugs_passes():
    check_trainer(plain, n_layers=(2,))


BUGS = {
    "loss scale": {"scale": 0.98},
    "gradient never cleared": {"zero": False},
    "gradient one step old": {"stale": True},
    "weight decay left on": {"decay": 1e-3},
    "momentum left on": {"momentum": 0.1},
}


@pytest.mark.parametrize("bug", BUGS)
def test_trainer_with_one_bug_fails_with_a_sentence(bug):
    def broken(module, loss, optimizer, *, n_steps, seed):
        return plain(module, loss, optimizer, n_steps, seed, **BUGS[bug])

    with pytest.raises(AssertionError, match=r"^trainer oracle, L = 3: expected .*, got .*; check the"):
        check_trainer(broken, n_layers=(3,))


def test_trainer_that_skips_states_fails_with_a_sentence():
    with pytest.raises(AssertionError, match="yield a state after every step"):
        check_trainer(lambda *args, **kwargs: [s for s in fit(*args, **kwargs) if s.step % 2], n_layers=(2,))


def test_slow_trainer_fails_the_depth_oracle():
    def slow(module, loss, optimizer, *, n_steps, seed):
        return plain(module, loss, optimizer, n_steps, seed, scale=0.98)

    with pytest.raises(AssertionError, match="L = 5: expected the time to half within 1%"):
        check_depth(slow, n_layers=(5,))


@pytest.mark.parametrize("n_layers", [2, 3, 5, 20])
def test_closed_form_time_inverts_the_scalar_equation(n_layers):
    times = np.linspace(0, 4 / n_layers, 9)
    values = singular_value(times, 2.0, 0.1, n_layers)
    assert [time_to_reach(u, 2.0, 0.1, n_layers) for u in values[1:]] == pytest.approx(times[1:], abs=1e-9)


def test_two_layer_half_time_is_the_published_number():
    assert time_to_reach(0.5, 1.0, 1e-3, 2) == pytest.approx(3.453, abs=5e-4)


def test_rescaled_time_tends_to_the_infinite_depth_form_like_one_over_depth():
    s, start, u = 1.0, 0.2, 0.5
    limit = np.log(u * (s - start) / (start * (s - u))) / s**2 + 1 / (s * start) - 1 / (s * u)
    gaps = [n * time_to_reach(u, s, start, n) - limit for n in (50, 100, 200)]
    assert gaps[0] / gaps[1] == pytest.approx(2, abs=0.05)
    assert gaps[1] / gaps[2] == pytest.approx(2, abs=0.03)
