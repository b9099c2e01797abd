"""The probe, compared with one autograd call per observation and loss, and in real training."""

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from rlgns.agents.compute.team import Team
from rlgns.agents.config import AgentConfig
from rlgns.agents.network import build_network
from rlgns.agents.rollout_gradients import LOSSES, RolloutGradients, loss_coefficients
from rlgns.agents.update import Updater
from rlgns.config.schema import Config
from rlgns.engine.probe import Probe
from rlgns.envs.config import EnvConfig
from rlgns.metrics.registry import KEYS
from rlgns.noise.config import NoiseConfig
from rlgns.storage.run_folder import RunFolder
from tests.agents.synthetic import NETWORK, near_policy, random_rollouts, small_network
from tests.reference.agents import SlowRecord
from tests.reference.noise import slow_moments
from tests.rlgns.engine.tiny import build, tiny
from tests.row_check import check_row

ENVS, STEPS = 4, 8
SEED = (1, 2)
FLOAT32_BYTES = 4


def config(*, envs: int = ENVS, budget: float = 0.3) -> Config:
    return Config(
        env=EnvConfig(num_envs=envs),  # its image size is unlike that of the synthetic games
        agent=AgentConfig(rollout_steps=STEPS, minibatches=1, epochs=1, entropy_coefficient=0.3),
        network=NETWORK,
        noise=NoiseConfig(groups=11, overhead_budget=budget),  # of a batch; the probe has its own limit
    )


def probed(run: Config, *, team: int = 1, updates: int = 1, break_at: int | None = None) -> tuple[Probe, Updater]:
    """Probes several updates of synthetic rollouts at one parameter vector."""
    network, ticks = small_network(), itertools.count()
    probe = Probe(run, network, clock=lambda: float(next(ticks)))
    workers = Team(team)
    updater = Updater(network, run.agent, groups=1, precision="float32", team=workers)

    def measure(fresh: RolloutGradients) -> None:
        if number == break_at:
            kept = network.value_head.bias.detach().clone()
            network.value_head.bias.data.fill_(float("nan"))
            probe.measure(fresh, SEED)
            network.value_head.bias.data.copy_(kept)
        else:
            probe.measure(fresh, (*SEED, number))

    for number in range(updates):
        rollouts, observations = random_rollouts(number, steps=STEPS, envs=run.env.num_envs)
        near_policy(rollouts, observations, network, seed=number)
        updater.update(rollouts, learning_rate=0.0, seed=SEED, before_steps=measure)
    workers.close()
    return probe, updater


def test_moments_of_every_loss_are_those_of_separate_backward_passes() -> None:
    run = config()
    probe, _ = probed(run)
    views = probe._views
    rollouts, observations = random_rollouts(0, steps=STEPS, envs=ENVS)
    network = small_network()
    near_policy(rollouts, observations, network, seed=0)
    record, twin = SlowRecord(rollouts, observations, run.agent), network.double()
    groups = [np.arange(STEPS) * ENVS + env for env in range(ENVS)]  # 4 environments, 4 groups
    estimates = views.estimates()
    for name, part in (("joint", "total"), *((loss, loss) for loss in LOSSES)):
        grad_sq, trace = slow_moments([record.gradients(twin, group, part) for group in groups])
        latest = estimates[name].latest
        assert latest is not None and (latest.groups, latest.observations_per_group) == (ENVS, STEPS)
        assert latest.trace == pytest.approx(trace, rel=1e-4), name
        assert latest.grad_sq == pytest.approx(grad_sq, rel=1e-3, abs=1e-4 * trace), name
    weights = loss_coefficients(run.agent)
    total = sum(weights[i] * weights[j] * views.cross[i][j].trace for i in range(3) for j in range(3))
    joint = estimates["joint"].latest
    assert joint is not None and total == pytest.approx(joint.trace, rel=1e-12)
    assert list(views.layers()) == ["conv1", "hidden", "policy_head", "value_head"]


def test_threads_change_nothing_but_rounding() -> None:
    one, two = (probed(config(), team=team, updates=3)[0]._views.state_dict() for team in (1, 2))
    flat = [np.array(state["views"]["policy"]["spread"]["total"]) for state in (one, two)]
    np.testing.assert_allclose(flat[0], flat[1], rtol=1e-4)


def test_more_environments_than_groups_and_a_prime_number_of_them() -> None:
    for envs, groups, each in ((16, 8, 2), (22, 2, 11), (11, 11, 1)):
        joint = probed(config(envs=envs))[0]._views.estimates()["joint"].latest
        assert joint is not None and (joint.groups, joint.observations_per_group) == (groups, each * STEPS)


def test_a_gradient_that_is_not_finite_is_counted_and_left_out() -> None:
    probe, _ = probed(config(), updates=4, break_at=2)
    row = probe.report(16)
    assert (row["noise/probes"], row["noise/probes_skipped"]) == (3, 1)
    assert np.isfinite(row["noise/joint/trace"])
    probe, _ = probed(config(), updates=3, break_at=2)
    assert "noise/joint/trace" not in probe.report(16)  # no view of this iteration


def test_later_probes_take_no_large_block_of_memory() -> None:
    """Large blocks fragment memory: a probe in every iteration cost one more parameter vector each time."""
    run = config()
    network = build_network(dataclasses.replace(NETWORK, hidden=4000), num_actions=4, frame_stack=2, image_size=7)
    parameters = network.parameter_count
    probe, taken = Probe(run, network), []

    def measure(fresh: RolloutGradients) -> None:
        with torch.profiler.profile(profile_memory=True) as profile:
            probe.measure(fresh, (*SEED, number))
        taken.append(max(event.self_cpu_memory_usage for event in profile.events()))

    updater = Updater(network, run.agent, groups=1, precision="float32")
    for number in range(4):
        rollouts, _ = random_rollouts(number, steps=STEPS, envs=ENVS)
        updater.update(rollouts, learning_rate=1e-3, seed=SEED, before_steps=measure)
    first, _, *later = taken  # the second is the first with a preconditioner
    assert first >= FLOAT32_BYTES * parameters
    assert 0 < max(later) < FLOAT32_BYTES * parameters


def test_the_clock_sets_how_often_a_probe_is_taken() -> None:
    probe, _ = probed(config(budget=0.1))
    assert probe.seconds == 1.0  # this clock ticks at each reading
    probe.end_iteration(seconds=3.0, measure_s=0.0)
    assert probe.report(16)["noise/probe_every_iterations"] == 5  # 1 * 0.9 / (0.1 * 2) = 4.5
    assert (probe.seconds, probe.due()) == (0.0, False)


def test_without_a_budget_there_is_no_probe_and_no_key() -> None:
    probe = Probe(config(budget=0.0), small_network())
    for _ in range(5):
        probe.end_iteration(seconds=1.0, measure_s=0.0)
        assert not probe.due()
        assert probe.report(16) == {}


def with_budget(fraction: float) -> Config:
    return dataclasses.replace(tiny(), noise=NoiseConfig(shuffled_every=2, overhead_budget=fraction))


@pytest.mark.usefixtures("local_ray")
def test_training_on_atari_is_the_same_with_and_without_a_probe(tmp_path: Path) -> None:
    rows, states = {}, {}
    for name, fraction in (("without", 0.0), ("with", 0.9)):
        algorithm = build(with_budget(fraction), tmp_path / name)
        rows[name] = [algorithm.train()["row"] for _ in range(4)]
        states[name] = algorithm._state()["learner"]
        algorithm.stop()
    for name, value in states["without"]["network"].items():
        assert torch.equal(states["with"]["network"][name], value), name
    for key, state in states["without"]["optimizer"]["state"].items():
        for name, value in state.items():
            assert torch.equal(states["with"]["optimizer"]["state"][key][name], value), name
    assert states["with"]["noise"] == states["without"]["noise"]  # nor does it change the ride-along measurement
    assert rows["with"][-1]["noise/probes"] >= 1
    assert rows["with"][-1]["noise/by_loss/batches"] >= 1
    assert "noise/joint/trace" in rows["with"][1]  # the second iteration has the first probe
    assert not any(key.startswith("noise/joint") for row in rows["without"] for key in row)
    for row in rows["with"]:
        check_row(row)
        assert (row["noise/probe_s"] > 0) == ("noise/joint/trace" in row)
    assert set().union(*rows["with"]) == set(KEYS)  # every declared key is logged


@pytest.mark.usefixtures("local_ray")
def test_a_resumed_run_restores_the_probe(tmp_path: Path) -> None:
    first = build(with_budget(0.9), tmp_path)
    for _ in range(3):
        first.train()
    before, by_loss = (first._state()["learner"][name] for name in ("probe", "by_loss"))
    first.stop()
    second = build(with_budget(0.9), tmp_path)
    assert second._state()["learner"]["probe"] == before
    assert second._state()["learner"]["by_loss"] == by_loss
    assert by_loss["by_loss"]["batches"] >= 1
    assert before["views"]["probes"] >= 1
    assert second.train()["row"]["noise/probes"] >= before["views"]["probes"]
    second.stop()
    assert [row["iteration"] for row in RunFolder(tmp_path).rows()] == [1, 2, 3, 4]
