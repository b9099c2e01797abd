"""The noise scale of Stable-Baselines3's PPO on CartPole: two lines beside training.

    pip install -e '.[sb3]'
    python examples/sb3_cartpole.py

CartPole's rollouts are short and its passes cheap, so a tenth of the time is given to measuring here. Longer runs need
less: the default is a hundredth.
"""

from __future__ import annotations

import torch
from stable_baselines3 import PPO
from stable_baselines3.common.env_util import make_vec_env

from rlgns.adapters.sb3 import NoiseScaleCallback

OBSERVATIONS = 40_000


def main() -> None:
    """Trains, which ends with the verdict, and prints the noise scale behind it."""
    torch.set_num_threads(1)  # the network is tiny
    model = PPO("MlpPolicy", make_vec_env("CartPole-v1", n_envs=16, seed=0), n_steps=64, seed=0, device="cpu")
    callback = NoiseScaleCallback(overhead=0.1)
    model.learn(OBSERVATIONS, callback=callback)
    average, rollouts = callback.verdict().noise_scale, callback.estimate().updates
    print(f"Average noise scale at the parameters that played: {average} observations, from {rollouts} rollouts.")


if __name__ == "__main__":
    main()
