"""PPO and A2C on Atari observations: network, rollout storage, GAE, loss and update. torch only, no Ray."""
