"""What fit() promises: resuming to the bit, early stopping, honest failure, and one gradient over several ranks."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

from sciml.artifact import read_tensors
from sciml.training import FitOptions, cosine, count_parameters, exponential, fit, seeded

OPTIMIZERS = {
    "adamw": lambda p: torch.optim.AdamW(p, lr=1e-2),
    "momentum": lambda p: torch.optim.SGD(p, lr=1e-2, momentum=0.9),
    "lbfgs": lambda p: torch.optim.LBFGS(p, lr=0.1, max_iter=3, history_size=4),
}


def network(seed: int = 3) -> nn.Module:
    layers = nn.Sequential(nn.Linear(2, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 1))
    for p in layers.parameters():
        nn.init.normal_(p, std=0.5, generator=seeded(seed, *p.shape))
    return layers


def loss(module: nn.Module, generator: torch.Generator) -> torch.Tensor:
    x = torch.rand(16, 2, generator=generator)
    return ((module(x)[:, 0] - torch.sin(3 * x[:, 0]) * x[:, 1]) ** 2).mean()


def validate(module: nn.Module) -> float:
    x = torch.rand(32, 2, generator=seeded("validation"))
    return float(((module(x)[:, 0] - torch.sin(3 * x[:, 0]) * x[:, 1]) ** 2).mean())


def weights(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in module.state_dict().items()}


def assert_equal(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> None:
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)


def run(folder: Path | None = None, until: int | None = None, make=OPTIMIZERS["adamw"], n_steps: int = 40):
    module = network()
    options = FitOptions(
        schedule=cosine(n_steps, 5), clip_norm=0.5, validate=validate, every=8, patience=100, checkpoint=folder
    )
    states = []
    for state in fit(module, loss, make(module.parameters()), n_steps=n_steps, seed=11, options=options):
        states.append(state)
        if state.step == until:
            break
    return module, states


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("until", [3, 16, 29])
def test_fit_left_and_called_again_gives_the_same_weights_and_states(tmp_path, optimizer, until):
    make = OPTIMIZERS[optimizer]
    whole, expected = run(make=make)
    run(tmp_path / "fit", until=until, make=make)
    module, states = run(tmp_path / "fit", make=make)
    assert_equal(weights(module), weights(whole))
    assert states == expected[until // 8 * 8 :]


def test_fit_left_in_one_process_goes_on_with_the_same_objects(tmp_path):
    whole, _ = run()
    module = network()
    optimizer = OPTIMIZERS["adamw"](module.parameters())
    options = FitOptions(
        schedule=cosine(40, 5), clip_norm=0.5, validate=validate, every=8, patience=100, checkpoint=tmp_path / "fit"
    )
    first = fit(module, loss, optimizer, n_steps=40, seed=11, options=options)
    for _ in range(5):
        next(first)
    *_, last = fit(module, loss, optimizer, n_steps=40, seed=11, options=options)
    assert last.step == 40
    assert_equal(weights(module), weights(whole))
    assert optimizer.param_groups[0]["lr"] == 1e-2


def test_finished_fit_yields_its_last_state_once_more(tmp_path):
    module, states = run(tmp_path / "fit")
    again, repeated = run(tmp_path / "fit")
    assert repeated == states[-1:]
    assert_equal(weights(again), weights(module))


def test_fit_killed_again_and_again_gives_the_weights_of_an_uninterrupted_one(tmp_path):
    script = (
        f"import sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "import time, test_training as t\nfrom pathlib import Path\n"
        "slow = lambda m, g: (time.sleep(0.02), t.loss(m, g))[1]\n"
        "module = t.network()\n"
        "options = t.FitOptions(schedule=t.cosine(200), validate=t.validate, every=1, checkpoint=sys.argv[1])\n"
        "optimizer = t.OPTIMIZERS['adamw'](module.parameters())\n"
        "for s in t.fit(module, slow, optimizer, n_steps=200, seed=11, options=options):\n"
        "    print(s.step, flush=True)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for stop in (20, 90):
        process = subprocess.Popen(
            [sys.executable, "-c", script, str(tmp_path / "fit")], stdout=subprocess.PIPE, text=True, env=environment
        )
        for line in process.stdout:
            if int(line) >= stop:
                break
        time.sleep(0.023 * stop / 20)  # somewhere inside a step or a write
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        assert stop <= json.loads((tmp_path / "fit" / "fit.json").read_text())["state"]["step"] < 200
    whole, resumed = network(), network()
    for module, folder in ((whole, None), (resumed, tmp_path / "fit")):
        options = FitOptions(schedule=cosine(200), validate=validate, every=1, checkpoint=folder)
        optimizer = OPTIMIZERS["adamw"](module.parameters())
        states = list(fit(module, loss, optimizer, n_steps=200, seed=11, options=options))
    assert states[0].step > 90
    assert_equal(weights(resumed), weights(whole))
    assert sorted(path.name for path in (tmp_path / "fit").iterdir()) == ["fit.json", "step-200.safetensors"]


def test_checkpoint_clears_what_killed_writes_left_and_nothing_else(tmp_path):
    run(tmp_path, until=8)
    for name in (".tmpShf9ku", ".fit.json.0a1b2c3d.tmp", ".step-16.safetensors.0a1b2c3d.tmp", "notes.txt"):
        (tmp_path / name).write_text("half")
    run(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.json", "notes.txt", "step-40.safetensors"]


def break_other_parameters(folder, setup):
    setup["module"] = nn.Linear(2, 1)


def break_other_seed(folder, setup):
    setup["seed"] = 12


def break_other_optimizer(folder, setup):
    setup["make"] = OPTIMIZERS["momentum"]


def break_truncated_tensors(folder, setup):
    (path,) = folder.glob("*.safetensors")
    path.write_bytes(path.read_bytes()[:-7])


def break_truncated_json(folder, setup):
    (folder / "fit.json").write_text((folder / "fit.json").read_text()[:50])


def break_missing_key(folder, setup):
    (folder / "fit.json").write_text('{"tensors": "step-40.safetensors"}')


@pytest.mark.parametrize("break_it", [f for name, f in list(globals().items()) if name.startswith("break_")])
def test_checkpoint_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, break_it):
    run(tmp_path / "fit")
    setup = {"module": network(5), "seed": 11, "make": OPTIMIZERS["adamw"]}
    break_it(tmp_path / "fit", setup)
    before = weights(setup["module"])
    optimizer = setup["make"](setup["module"].parameters())
    with pytest.raises(ValueError, match="expected a checkpoint of this fit, got"):
        next(fit(setup["module"], loss, optimizer, n_steps=9, seed=setup["seed"],
                 options=FitOptions(checkpoint=tmp_path / "fit")))  # fmt: skip
    assert_equal(weights(setup["module"]), before)


def test_fit_stops_after_patience_validations_and_keeps_the_best_weights():
    module, seen = nn.Linear(1, 1), []
    scores = iter([5.0, 3.0, 4.0, 3.0, 9.0])

    def score(m):
        seen.append(weights(m))
        return next(scores)

    options = FitOptions(validate=score, every=2, patience=3)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1)
    states = list(
        fit(module, lambda m, g: m(torch.ones(1, 1)).sum() ** 2 + 1, optimizer, n_steps=99, seed=1, options=options)
    )
    assert states[-1].step == 10
    assert states[-1].best == 3.0
    assert [s.validation for s in states[:4]] == [None, 5.0, None, 3.0]
    assert_equal(weights(module), seen[1])


def test_fit_validates_in_evaluation_mode_and_gives_every_part_its_mode_back():
    module = network()
    module[1].eval()
    modes = []
    options = FitOptions(validate=lambda m: modes.append([p.training for p in m.modules()]) or 1.0, every=1)
    list(fit(module, loss, OPTIMIZERS["momentum"](module.parameters()), n_steps=2, seed=1, options=options))
    assert modes == [[False] * 5] * 2
    assert [p.training for p in module.modules()] == [True, True, False, True, True]


def test_step_is_the_schedule_times_the_rate_times_the_clipped_gradient():
    module = nn.Linear(1, 1, bias=False).double()
    nn.init.constant_(module.weight, 2.0)
    optimizer = torch.optim.SGD(module.parameters(), lr=0.5)
    options = FitOptions(schedule=exponential(0.25, 2), clip_norm=3.0)
    path = []
    for state in fit(module, lambda m, g: 5.0 * m.weight.sum(), optimizer, n_steps=3, seed=1, options=options):
        path.append((state.loss, state.learning_rate, module.weight.item()))
    expected = [(10, 0.5, 0.5), (2.5, 0.25, -0.25), (-1.25, 0.125, -0.625)]
    torch.testing.assert_close(torch.tensor(path), torch.tensor(expected), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_non_finite_loss_is_an_error_that_names_step_and_loss(bad):
    module = nn.Linear(1, 1)
    steps = iter([1.0, 1.0, bad])
    generator = fit(module, lambda m, g: m.weight.sum() * next(steps),
                    torch.optim.SGD(module.parameters(), lr=0.1), n_steps=9, seed=1)  # fmt: skip
    next(generator), next(generator)
    before = weights(module)
    with pytest.raises(FloatingPointError, match=r"fit: expected a finite loss, got -?(nan|inf) at step 3; lower the"):
        next(generator)
    assert_equal(weights(module), before)


def test_non_finite_validation_is_an_error():
    module = nn.Linear(1, 1)
    options = FitOptions(validate=lambda m: float("nan"), every=1)
    with pytest.raises(FloatingPointError, match="finite validation, got nan at step 1"):
        list(
            fit(
                module,
                lambda m, g: m.weight.sum(),
                torch.optim.SGD(module.parameters()),
                n_steps=2,
                seed=1,
                options=options,
            )
        )


def test_budget_counts_the_cpu_time_of_all_parts_and_ends_with_a_checkpoint(tmp_path):
    def busy(module, generator):
        end = time.process_time() + 0.02
        while time.process_time() < end:
            pass
        return loss(module, generator)

    def part(budget):
        module = network()
        options = FitOptions(every=1000, validate=validate, checkpoint=tmp_path / "fit")
        optimizer = torch.optim.SGD(module.parameters(), lr=0.01)
        states = list(fit(module, busy, optimizer, n_steps=1000, seed=1, budget_cpu_s=budget, options=options))
        return states, json.loads((tmp_path / "fit" / "fit.json").read_text())

    first, saved = part(0.2)
    assert 1 < len(first) <= 10
    assert saved["cpu_s"] >= 0.2
    assert saved["state"]["step"] == first[-1].step
    assert first[-1].validation is not None
    again, _ = part(0.2)
    assert again == first[-1:]
    second, saved = part(0.4)
    assert second[0].step == first[-1].step + 1
    assert 1 <= len(second) <= 10
    assert saved["cpu_s"] >= 0.4


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (dict(n_steps=0), "n_steps >= 1"),
        (dict(n_steps=3, budget_cpu_s=0.0), "budget_cpu_s > 0"),
        (dict(n_steps=3, budget_cpu_s=float("nan")), "budget_cpu_s > 0"),
    ],
)
def test_wrong_lengths_are_refused_at_the_call(call, sentence):
    module = nn.Linear(1, 1)
    with pytest.raises(ValueError, match=sentence):
        fit(module, loss, torch.optim.SGD(module.parameters()), seed=1, **call)


def test_optimizer_of_foreign_parameters_is_refused():
    with pytest.raises(ValueError, match="optimizer of the module's parameters"):
        fit(nn.Linear(1, 1), loss, torch.optim.SGD(nn.Linear(1, 1).parameters()), n_steps=1, seed=1)


def test_patience_without_validation_is_refused():
    with pytest.raises(ValueError, match="patience >= 1 only with validate"):
        FitOptions(patience=3)


def test_seeded_is_stable_and_tells_keys_apart():
    def draw(*keys):
        return torch.randint(2**31, (), generator=seeded(*keys)).item()

    keys = [(1,), ("1",), (1, 2), (12,), ("1", 2), (2, 1), ("1, 2",), (-1,)]
    assert len({draw(*k) for k in keys}) == len(keys)
    assert seeded(7, "train").initial_seed() == 4422821418776817863
    assert seeded(torch.tensor(3)).initial_seed() == seeded(3).initial_seed()
    with pytest.raises(TypeError):
        seeded(torch.tensor(1.5))


def test_schedules_have_the_stated_values():
    factor = cosine(110, 10)
    assert [factor(k) for k in (0, 4, 9, 10, 60, 110, 500)] == pytest.approx([0.1, 0.5, 1, 1, 0.5, 0, 0])
    assert exponential(0.5, 10)(25) == pytest.approx(0.5**2.5)


def test_count_parameters_counts_trainable_real_numbers():
    module = nn.Linear(3, 2)
    module.register_parameter("spectrum", nn.Parameter(torch.zeros(4, dtype=torch.complex64)))
    module.bias.requires_grad_(False)
    assert count_parameters(module) == 6 + 8


RANKS = """
import os, sys, torch
from torch import nn
from sciml.artifact import write_tensors
from sciml.training import FitOptions, fit, seeded

rank, out = int(os.environ["RANK"]), sys.argv[1]

def network():
    module = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    module.register_buffer("mean", torch.zeros(2, dtype=torch.float64))
    module.register_parameter("c", nn.Parameter(torch.zeros(3, dtype=torch.complex64)))
    module.register_parameter("unused", nn.Parameter(torch.zeros(2, dtype=torch.float64)))
    for p in module.parameters():
        nn.init.normal_(p, std=0.5, generator=seeded(rank, *p.shape))
    return module

def loss(m, g):
    x = torch.rand(16, 2, generator=g, dtype=torch.float64)
    if m.training:
        m.mean.mul_(0.9).add_(x.mean(0), alpha=0.1)  # a running statistic of the samples of this rank
    return ((m(x)[:, 0] - x[:, 0] * x[:, 1]) ** 2).mean() + (m.c - x[0, 0] - 1j * x[0, 1]).abs().square().sum()

def validate(m):
    assert rank == 0
    return float(loss(m, seeded("validation")))

def run(name, until=None):
    module, first = network(), {}
    options = FitOptions(clip_norm=0.7, validate=validate, every=4, patience=2, checkpoint=f"{out}/{name}")
    for state in fit(module, loss, torch.optim.Adam(module.parameters(), lr=0.05), n_steps=30, seed=5, options=options):
        if state.step == 1:
            first = {"gradient." + k: p.grad.clone() for k, p in module.named_parameters()}
            first["loss"] = torch.tensor(state.loss, dtype=torch.float64)
        if state.step == until:
            return
    write_tensors(f"{out}/weights-{name}-{rank}", module.state_dict())
    write_tensors(f"{out}/first-{name}-{rank}", first)

run("whole")
run("broken", until=6)
run("broken")
"""


def test_two_ranks_stay_bit_equal_average_their_gradients_and_resume(tmp_path):
    script = tmp_path / "ranks.py"
    script.write_text(RANKS)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command, str(tmp_path)], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    whole, *others = (
        read_tensors(tmp_path / f"weights-{name}-{rank}") for name in ("whole", "broken") for rank in (0, 1)
    )
    for other in others:
        assert_equal(other, whole)
    assert whole["mean"].abs().min() > 0.1
    first, again = (read_tensors(tmp_path / f"first-whole-{rank}") for rank in (0, 1))
    assert_equal(first, again)

    module = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 1)).double()
    c = nn.Parameter(torch.zeros(3, dtype=torch.complex64))
    parameters = {**dict(module.named_parameters()), "c": c}
    for p in parameters.values():
        nn.init.normal_(p, std=0.5, generator=seeded(0, *p.shape))
    x = torch.cat([torch.rand(16, 2, generator=seeded(5, 1, rank), dtype=torch.float64) for rank in (0, 1)])
    value = ((module(x)[:, 0] - x[:, 0] * x[:, 1]) ** 2).mean()
    value = value + sum((c - x[i, 0] - 1j * x[i, 1]).abs().square().sum() for i in (0, 16)) / 2
    value.backward()
    nn.utils.clip_grad_norm_(parameters.values(), 0.7)
    assert first["loss"].item() == pytest.approx(value.item(), rel=1e-7)
    for name, p in parameters.items():
        tolerance = 1e-6 if p.is_complex() else 1e-7  # clipped by a norm that holds single-precision parts
        torch.testing.assert_close(first["gradient." + name], p.grad, rtol=tolerance, atol=1e-14)
