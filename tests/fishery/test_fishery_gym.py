"""The environments pass the checkers of gymnasium and stable-baselines3, and run the episodes of the simulation."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sciml_fishery.models import Model
from sciml_fishery.rollout import simulate
from sciml_fishery.three_species import published

gymnasium = pytest.importorskip("gymnasium")

from gymnasium.utils.env_checker import check_env  # noqa: E402
from gymnasium.vector import AutoresetMode  # noqa: E402
from sciml_fishery.gym_env import FisheryEnv, FisheryVectorEnv, fractions  # noqa: E402

ACTION = np.array([0.15, 0.25], np.float32)


def short(n_years=6):
    return Model(**{**vars(published("M4")), "n_years": n_years})


def episodes(env, n, seed):
    """Return rewards of whole episodes of one environment under a constant action."""
    totals = []
    for i in range(n):
        env.reset(seed=seed if i == 0 else None)
        total, over = 0.0, False
        while not over:
            _, reward, lost, truncated, _ = env.step(ACTION)
            total, over = total + reward, lost or truncated
        totals.append(total)
    return totals


@pytest.mark.parametrize("model", ["M1", "M2", "M4"])
def test_gymnasium_accepts_the_environment(model):
    check_env(FisheryEnv(model), skip_render_check=True)


def test_make_finds_the_environment_by_name():
    assert gymnasium.make("sciml/Fishery-v0").unwrapped.model.name == "M4"
    assert gymnasium.make_vec("sciml/Fishery-v0", num_envs=3).unwrapped.num_envs == 3
    assert gymnasium.make("sciml_fishery.gym_env:sciml/Fishery-v0", model="M1").action_space.shape == (1,)


@pytest.mark.parametrize("symmetric", [False, True])
def test_stable_baselines_accepts_the_environment(symmetric):
    checker = pytest.importorskip("stable_baselines3.common.env_checker")
    checker.check_env(FisheryEnv("M4", symmetric=symmetric), warn=False)


def test_episodes_are_those_of_the_simulation():
    env = FisheryEnv(short(50))
    found = episodes(env, 4, seed=8)
    level = torch.tensor(ACTION)
    wanted = simulate(short(50), lambda s, t: level.expand(len(s), -1), seed=env.batch.seed, episodes=4)
    assert found == pytest.approx(wanted.reward.tolist(), rel=1e-5)


def test_seed_is_obeyed():
    env = FisheryEnv("M4")
    first, second, other = (env.reset(seed=seed)[0] for seed in (8, 8, 9))
    assert np.array_equal(first, second)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP])
def test_vector_environment_starts_anew_as_it_says(mode):
    n, years = 5, 4
    env = FisheryVectorEnv(n, short(years), autoreset_mode=mode)
    assert env.metadata["autoreset_mode"] == mode
    env.reset(seed=8)
    began = env.batch.episode.clone()
    for _ in range(years):
        seen, reward, lost, truncated, info = env.step(np.tile(ACTION, (n, 1)))
    assert truncated.all()
    assert not lost.any()
    if mode == AutoresetMode.SAME_STEP:
        assert info["_final_obs"].all()
        assert not np.allclose(np.stack(info["final_obs"]), seen)
    else:
        last = seen
        seen, reward, lost, truncated, info = env.step(np.tile(ACTION, (n, 1)))
        assert not reward.any()
        assert not np.allclose(last, seen)
    assert torch.equal(env.batch.episode, began + n)
    assert (env.batch.year == 0).all()
    assert not (lost | (truncated & (mode == AutoresetMode.NEXT_STEP))).any()


def test_both_modes_give_the_same_episodes():
    """The sums of rewards per episode do not depend on when an environment starts anew."""
    sums = []
    for mode in (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP):
        env = FisheryVectorEnv(3, short(5), autoreset_mode=mode)
        env.reset(seed=8)
        extra = 1 if mode == AutoresetMode.NEXT_STEP else 0
        total = sum(env.step(np.tile(ACTION, (3, 1)))[1] for _ in range(2 * (5 + extra)))
        sums.append(total)
    assert np.allclose(*sums, rtol=1e-5)


def test_environment_of_a_vector_is_the_single_one():
    single, many = FisheryEnv(short(30)), FisheryVectorEnv(1, short(30), autoreset_mode=AutoresetMode.SAME_STEP)
    assert np.array_equal(single.reset(seed=8)[0], many.reset(seed=8)[0][0])
    for _ in range(29):
        a, b = single.step(ACTION), many.step(ACTION[None])
        assert np.array_equal(a[0], b[0][0])
        assert a[1] == pytest.approx(b[1][0])


def test_stable_baselines_learns_on_the_batched_environments():
    sb3 = pytest.importorskip("stable_baselines3")
    from sciml_fishery.sb3 import FisheryVecEnv, policy_of

    env = FisheryVecEnv("M4", 16)
    env.seed(8)
    learner = sb3.PPO("MlpPolicy", env, n_steps=16, batch_size=64, n_epochs=1, seed=8, device="cpu")
    learner.learn(512)
    fraction = policy_of(learner)(torch.full((4, 3), 0.5), torch.zeros(4))
    assert fraction.shape == (4, 2)
    assert ((fraction >= 0) & (fraction <= 1)).all()


@pytest.mark.parametrize("name", ["PPO", "TQC", "RecurrentPPO"])
def test_learners_of_stable_baselines_become_policies(name):
    pytest.importorskip("sb3_contrib")
    from sciml_fishery.sb3 import FisheryVecEnv, learner, policy_of

    trained = learner(name, FisheryVecEnv("M2", 2), 8).learn(16)
    outcome = simulate(short(5), lambda s, t: policy_of(trained)(s, t).expand(-1, 2), seed=8, episodes=4)
    assert outcome.reward.isfinite().all()
    with pytest.raises(ValueError, match="sb3: expected PPO"):
        learner("DQN", None, 8)


def test_terminal_observation_reaches_stable_baselines():
    pytest.importorskip("stable_baselines3")
    from sciml_fishery.sb3 import FisheryVecEnv

    env = FisheryVecEnv(short(3), 4)
    env.reset()
    for _ in range(3):
        _, _, done, infos = env.step(np.zeros((4, 2), np.float32))
    assert done.all()
    assert all(info["TimeLimit.truncated"] and info["terminal_observation"].shape == (3,) for info in infos)


def test_bad_use_is_refused():
    with pytest.raises(ValueError, match="action: expected finite numbers"):
        fractions([np.nan, 0.1], False)
    with pytest.raises(RuntimeError, match="expected reset"):
        FisheryVectorEnv(2).step(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="model: expected one of"):
        FisheryEnv("M7")
    with pytest.raises(ValueError, match="expected NEXT_STEP or SAME_STEP"):
        FisheryVectorEnv(2, autoreset_mode=AutoresetMode.DISABLED)
