"""The sentences of docs/results/agreement.md that no table gives."""

from __future__ import annotations

READING = (
    "Each coloured dot is one goal of one task here; the bars are 95 % intervals of both numbers. On the right each "
    "noise scale is multiplied by one factor, that of the other groups of tasks (tasks that differ only in optimizer "
    "or width are one group); Table 1 and the paper's Atari goals are calibrated among themselves. Open triangles "
    "are lower bounds."
)

SHORT = (
    "Runs that do not resolve a number are left out of its mean, as in `rlgns fit`. They may be those with the largest "
    "noise scales, and then the mean is low.\n\n"
    "A win needs an interval that leaves out zero. With few groups the plan's percentile interval is a little short: "
    "of 400 made-up tables in which two candidates are equally good it leaves out zero in 12 % with 4 groups, 8 % with "
    "8 and 10 % with 9, not in 5 % (`tests/benchmarks/test_contest_scores.py` has such tables)."
)

ADAPTIVE = (
    "16 pairs a task, seeds that no sweep has. The batch follows the live noise scale; its learning rate is that "
    "of the fixed batch throughout (constant rate), or at every batch the best of the sweep (swept rates). The "
    "prediction is the paper's, from the change of the noise scale along the fixed runs where it is resolved; it "
    "leaves out the first steps, so it is too cautious. No rule for the learning rate gains on every task."
)

DEVIATIONS = [
    "- The sweeps' own column `noise_scale` comes from an older version of the run average, in which a row's own size "
    "entered its weight. The path average here is computed from the same raw moments by the present version, which was "
    'changed for other reasons; the old numbers stand beside it as "path, as swept".',
    "- Digits had been seen before the plan, so they are no fresh evidence.",
    "- Breakout's sweep was run before the plan. Its critical batch and noise scale at three goals were known.",
    "- `characters-lstm-64-longer` was added to the plan when eight tasks had been seen, for a third decade of "
    "critical batches; its goals and grid were fixed before its first trial.",
    "- The adaptive runs at a constant rate were added after the first 16 pairs of characters-lstm-32.",
    "- The score among the tasks under Adam alone was computed after looking.",
    "- No goal, batch, rate, seed or trial was removed.",
]

NOT_DONE = [
    "- Pong, Alien, Seaquest and Beam Rider have no sweep here. `pong-quick` is planned "
    "([../notes/pareto-coverage.md](../notes/pareto-coverage.md), about 10 hours on 2 cores).",
    "- Qbert, Space Invaders and the repetition of Breakout: `qbert-quick`, `space-invaders-quick` and "
    "`breakout-quick`, about 2 hours each on 2 cores for two seeds.",
    "- Three widths of the Atari network and of the language models; Fashion-MNIST, SVHN, CIFAR10 and ImageNet, whose "
    "loaders exist.",
    "- Full runs of `ppo` (10 million observations) beside published scores, and of `a2c-paper` beside the "
    "paper's growth.",
]

DONE_BY = """\
    python -m examples.tasks TASK --sweep runs/TASK           # 2 cores, 3 to 30 minutes a task
    python -m examples.tasks TASK --contest runs/TASK         # all candidates along the best runs
    python -m examples.tasks TASK --adaptive runs/TASK        # adaptive batches beside the best fixed one
    rlgns sweep --config qbert-quick --out runs/qbert         # a game
    make evidence ARGS="--add runs/TASK"                      # its tables, then this page

2 cores (AMD EPYC), no GPU, torch 2.13.0+cpu, one thread a trial. `mnist-*` and the language models need `--data`. \
`rlgns fit docs/results/agreement/TASK.csv` prints a task's fits and `rlgns report docs/results/agreement/*.csv \
docs/results/breakout-sweep.csv` has all of them in one page. Breakout: [breakout-sweep.md](breakout-sweep.md)."""
