"""Files on disk: runs, sweeps and checkpoints, each with its layout in one module."""
