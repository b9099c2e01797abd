"""PPO on Atari that tells you, while it trains, how large a batch is still worth paying for."""

__version__ = "0.1.0"
