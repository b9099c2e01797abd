"""Tasks that are no games: images and text, with sweeps over batch sizes and learning rates.

    python -m examples.tasks digits-sgd                              # one trial, and how long it takes
    python -m examples.tasks digits-sgd --sweep runs/digits-sgd      # the grid, in parallel, resumable
    rlgns fit runs/digits-sgd                                        # the critical batch of every goal

docs/sweeps.md describes them.
"""
