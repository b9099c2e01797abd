"""The training engine: the only place that imports RLlib."""
