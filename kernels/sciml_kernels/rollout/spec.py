"""The record of `rollout`: inputs to try it on, its kernels and its cost."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from sciml_kernels.registry import Case, Cases, Cost, Implementation, Inputs, OpSpec
from sciml_kernels.rollout import LAUNCHERS, backward_reference, rollout
from sciml_kernels.rollout.reference import N_KNOTS, noise_reference, reference

NOMINAL = (1.0, 1.0, 1.0, 1.0, 0.3, 0.3, 1.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.005, 0.5)


def make_inputs(generator: torch.Generator, size: Mapping[str, int]) -> Inputs:
    """Draw rules and episodes: axes ``rule, episode, time``; ``flat`` makes the rules independent of the predator."""
    n_rule, n_episode, n_time = size["rule"], size["episode"], size["time"]

    def draw(*lengths: int) -> torch.Tensor:
        return torch.rand(lengths, generator=generator, dtype=torch.float64)

    rule = torch.cat([0.2 * draw(n_rule, 2), 0.3 + 0.4 * draw(n_rule, 2), 0.2 + 0.4 * draw(n_rule, 2 * N_KNOTS)], 1)
    if size.get("flat", 0):
        rule[:, 4:] = rule[:, 4::N_KNOTS].repeat_interleave(N_KNOTS, 1)
    parameters = torch.tensor(NOMINAL, dtype=torch.float64) * (0.9 + 0.2 * draw(n_episode, len(NOMINAL)))
    return {
        "rule": rule,
        "parameters": parameters,
        "initial": 0.5 + 0.3 * draw(n_episode, 3),
        "noise": 2 * draw(n_time, n_episode, 3) - 1,
        "knots": torch.linspace(-3, 0.2, N_KNOTS, dtype=torch.float64),
        "threshold": 0.05,
        "penalty": 100.0,
    }


def cost(inputs: Inputs) -> dict[str, Cost]:
    """Count each operand once, and 75 operations for a year of an episode under a rule."""
    tensors = [value for value in inputs.values() if isinstance(value, torch.Tensor)]
    read, element = sum(tensor.nbytes for tensor in tensors), inputs["rule"].element_size()
    n_rule, (n_time, n_episode, _) = len(inputs["rule"]), inputs["noise"].shape
    written, steps = 3 * n_rule * n_episode * element, n_rule * n_episode * n_time
    return {"forward": Cost(read + written, 75 * steps), "backward": Cost(2 * read + written, 225 * steps)}


SPEC = OpSpec(
    name="rollout",
    op=rollout,
    implementation=Implementation(
        reference, LAUNCHERS, {"rollout_backward": backward_reference, "rollout_noise": noise_reference}
    ),
    cases=Cases(
        make_inputs,
        test=(
            Case("small", {"rule": 2, "episode": 2, "time": 3}),
            Case("odd", {"rule": 5, "episode": 7, "time": 9}),
            Case("odd, flat", {"rule": 3, "episode": 19, "time": 5, "flat": 1}),
            Case("odd, threads", {"rule": 33, "episode": 65, "time": 5}),
            Case("one element", {"rule": 1, "episode": 1, "time": 1}),
            Case("no rule", {"rule": 0, "episode": 3, "time": 2}),
        ),
        bench=(
            Case("constant rules", {"rule": 512, "episode": 100, "time": 200, "flat": 1}),
            Case("predator-dependent rules", {"rule": 512, "episode": 100, "time": 200}),
        ),
    ),
    cost=cost,
)
