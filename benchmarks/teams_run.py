"""One run of one team: RLlib's own PPO with NoiseScalePPOLearner, until it scores enough; a row per iteration.

python -m benchmarks.teams_run PLAYERS SEED FILE.csv
"""

from __future__ import annotations

import csv
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TEAM = "team"

ENVS, STEPS = 16, 64
"""Games at a time, and steps of each in a rollout."""

BATCH = 512
"""Observations of players per optimizer step."""

GAMES = 100
"""Over which the score is averaged."""

COLUMNS = (
    "players", "seed", "iteration", "game_steps", "score", "games", "batch_observations", "updates",
    "run_average", "run_average_low", "run_average_high", "now", "now_low", "now_high", "grad_sq", "trace", "seconds",
)  # fmt: skip
"""Of a run's table. Noise scales and batches are in observations of players; empty: not known."""

_FROM = {
    "updates": "noise/updates",
    "run_average": "noise/run_average",
    "run_average_low": "noise/run_average_low",
    "run_average_high": "noise/run_average_high",
    "now": "noise/at_rollout/scale",
    "now_low": "noise/at_rollout/now_low",
    "now_high": "noise/at_rollout/now_high",
    "grad_sq": "noise/at_rollout/grad_sq",
    "trace": "noise/at_rollout/trace",
}


def configuration(players: int, seed: int) -> Any:
    """Returns RLlib's configuration."""
    from ray.rllib.algorithms.ppo import PPOConfig
    from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

    from benchmarks.teams_game import Foraging
    from rlgns.adapters.rllib import NoiseScalePPOLearner

    return (
        PPOConfig()
        .environment(Foraging, env_config={"players": players})
        .multi_agent(policies={TEAM}, policy_mapping_fn=lambda agent, episode, **more: TEAM)
        .env_runners(num_env_runners=0, num_envs_per_env_runner=ENVS, rollout_fragment_length=STEPS)
        .rl_module(model_config=DefaultModelConfig(fcnet_hiddens=[64, 64], vf_share_layers=False))
        .training(
            train_batch_size_per_learner=ENVS * STEPS,
            minibatch_size=BATCH,
            num_epochs=4,
            lr=1e-3,
            gamma=0.98,
            lambda_=0.95,
            clip_param=0.2,
            entropy_coeff=0.01,
            grad_clip=0.5,
            use_kl_loss=False,
        )
        .learners(
            num_learners=0,
            learner_class=NoiseScalePPOLearner,
            learner_config_dict={"noise_scale_overhead": 0.5},  # of every rollout but the first two
        )
        .reporting(metrics_num_episodes_for_smoothing=GAMES)
        .debugging(seed=seed, log_level="ERROR")
    )


def run(players: int, seed: int, path: Path, *, until: float, most_steps: int) -> None:
    """Trains until the score is `until` or after `most_steps` steps of the game; writes the table when it is done."""
    import ray
    import torch

    from benchmarks.peers.settings import start_ray, stop_rllib
    from benchmarks.teams_game import FOODS  # noqa: F401  says early that the game is missing

    start_ray(1, store_bytes=2**27)
    algorithm = configuration(players, seed).build_algo()
    torch.set_num_threads(1)
    began, score, steps = time.perf_counter(), 0.0, 0
    rows: list[dict[str, Any]] = []
    try:
        while score < until and steps < most_steps:
            result = algorithm.train()
            played = result["env_runners"]
            steps = int(played["num_env_steps_sampled_lifetime"])
            games = int(played.get("num_episodes_lifetime", 0))
            score = float(played.get("episode_return_mean", 0.0)) / players if games >= GAMES else 0.0
            module = result["learners"][TEAM]
            known = {column: module.get(key, "") for column, key in _FROM.items()}
            rows.append(
                {
                    "players": players,
                    "seed": seed,
                    "iteration": len(rows) + 1,
                    "game_steps": steps,
                    "score": score,
                    "games": games,
                    "batch_observations": BATCH,
                    **known,
                    "seconds": time.perf_counter() - began,
                }
            )
    finally:
        stop_rllib(algorithm)
        assert not ray.is_initialized()
    partial = path.with_suffix(".part")
    with partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        table.writeheader()
        table.writerows(
            {name: f"{value:.6g}" if isinstance(value, float) else value for name, value in row.items()} for row in rows
        )
    os.replace(partial, path)


def main(words: Sequence[str] | None = None) -> int:
    """Runs one team; arguments: players, seed, file, score to end at, most steps."""
    players, seed, path, until, most_steps = sys.argv[1:] if words is None else words
    run(int(players), int(seed), Path(path), until=float(until), most_steps=int(most_steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
