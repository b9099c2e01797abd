"""Panels of the W&B workspace: their titles and the logged keys that they show."""

from __future__ import annotations

from dataclasses import dataclass

from rlgns.metrics.probe_keys import VIEWS


@dataclass(frozen=True, kw_only=True, slots=True)
class Panel:
    """Lines against observations, all in one unit."""

    title: str
    keys: tuple[str, ...] = ()
    pattern: str = ""
    """Regular expression in place of `keys`, for keys whose names depend on the run's sizes."""
    log: bool = False
    """Whether the vertical axis is logarithmic."""


def band(title: str, key: str, *others: str, low: str = "", high: str = "") -> Panel:
    """Returns a panel of an estimate and its interval as three lines: W&B cannot fill the area between two keys."""
    return Panel(title=title, keys=(key, low or f"{key}_low", high or f"{key}_high", *others), log=True)


def _of_views(key: str) -> tuple[str, ...]:
    return tuple(f"noise/{view}/{key}" for view in VIEWS)


SECTIONS: dict[str, tuple[Panel, ...]] = {
    "Score": (
        Panel(
            title="Score against random play, a human tester and CleanRL's PPO",
            keys=("score_mean", "reference/random_score", "reference/human_score", "reference/cleanrl_score"),
        ),
        Panel(title="Human-normalised score (random 0, human 1)", keys=("human_normalised_score",)),
        Panel(title="Full games", keys=("score_episodes",)),
    ),
    "Critical batch": (
        band(
            "Critical batch against the batch in use, observations",
            "critical_batch/predicted",
            "batch_observations",
            low="critical_batch/low",
            high="critical_batch/high",
        ),
        band("Critical batch now, at its learning rate, observations", "critical_batch/now"),
        Panel(
            title="Twice the environments: steps and observations relative to the batch in use",
            keys=("advice/twice_envs_step_ratio", "advice/twice_envs_observation_ratio"),
        ),
        Panel(
            title="Twice the rollout steps: steps and observations relative to the batch in use",
            keys=("advice/twice_steps_step_ratio", "advice/twice_steps_observation_ratio"),
        ),
    ),
    "Noise scale": (
        band("Noise scale now, observations", "noise/now"),
        band("Noise scale, run average, observations", "noise/run_average"),
        band("Noise scale now, at the parameters that played, observations", "noise/at_rollout/now", "noise/now"),
        Panel(
            title="Noise scale by loss, along the steps, observations",
            keys=("noise/by_loss/policy/scale", "noise/by_loss/value/scale", "noise/scale"),
            log=True,
        ),
        Panel(
            title="Share of the noise that the value's gradient makes, with its interval",
            keys=tuple(f"noise/by_loss/value/noise_share{end}" for end in ("", "_low", "_high")),
        ),
        Panel(title="|G|^2 and tr(Sigma) of an iteration", keys=("noise/grad_sq", "noise/trace")),
        Panel(title="|G|^2 by optimizer step of the first epoch", pattern=r"noise/by_step/[0-9]+/grad_sq", log=True),
        Panel(title="Design effect", keys=("noise/design_effect",)),
        Panel(title="Resolved (|G|^2 is distinguishable from 0)", keys=("noise/resolved",)),
    ),
    "Ladder": (
        Panel(title="|g|^2 of the mean gradient of so many observations", pattern=r"noise/ladder/[0-9]+", log=True),
        Panel(title="tr(Sigma) if so many steps were one unit", pattern=r"noise/time_ladder/[0-9]+/trace", log=True),
        band("Noise left by twice the rollout steps", "noise/twice_steps_noise"),
    ),
    "Views of the probe": (
        Panel(
            title="Noise scale by loss and part, at the parameters that played, observations",
            keys=_of_views("scale"),
            log=True,
        ),
        Panel(title="Noise dimension", keys=_of_views("dimension"), log=True),
        Panel(title="Batches until |G|^2 is distinguishable from 0", keys=_of_views("updates_to_resolve"), log=True),
        Panel(title="Noise scale by layer, observations", pattern=r"noise/layers/[^/]+/scale", log=True),
    ),
    "Adaptive batch": (
        Panel(
            title="Batch in use against the batch aimed at, observations",
            keys=("batch_observations", "target_batch_observations"),
            log=True,
        ),
        Panel(title="Environments in use", keys=("num_envs",)),
    ),
    "Throughput and cost": (
        Panel(title="Observations per second", keys=("throughput/observations_per_s",)),
        Panel(
            title="Seconds of an iteration: play, learn, probe",
            keys=("throughput/sample_s", "throughput/learn_s", "noise/probe_s"),
        ),
        Panel(title="Share of time spent measuring", keys=("noise/overhead_fraction",)),
        Panel(title="Seconds of training", keys=("seconds",)),
        Panel(title="Optimizer steps", keys=("optimizer_steps",)),
    ),
    "Learning": (
        Panel(title="Losses", keys=("loss/policy", "loss/value")),
        Panel(title="Entropy and KL divergence, nats", keys=("entropy", "approx_kl")),
        Panel(title="Clipped share, explained variance", keys=("clip_fraction", "explained_variance")),
        Panel(title="Gradient norm", keys=("grad_norm",), log=True),
        Panel(
            title="Learning rate, and its mean where it counts",
            keys=("learning_rate", "noise/run_average_learning_rate"),
        ),
    ),
}
"""Panels by section, in order."""

OPEN = ("Score", "Critical batch", "Noise scale", "Ladder")
"""Sections that are open at first."""

PINNED = (
    "score_mean",
    "best/score_mean",
    "human_normalised_score",
    "observations",
    "batch_observations",
    "critical_batch/predicted",
)
"""Columns of the runs table."""
