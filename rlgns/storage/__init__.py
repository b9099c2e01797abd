"""What lies on disk: runs, sweeps, checkpoints; each layout is known in one place."""
