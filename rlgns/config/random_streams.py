"""Every random stream of rlgns, and the numbers that keep them apart.

| stream | numbers it is made from |
| --- | --- |
| a set of environments (`envs.vector.AtariEnvs`) | run.seed, and as spawn key: set of environments, restarts |
| actions of a set of environments (`engine.collect.Collector`) | run.seed, iteration, set of environments |
| batches and groups of an update (`agents.update.Updater`) | run.seed, iteration, UPDATE |
| groups of a probe (`engine.probe.Probe`) | run.seed, iteration, PROBE |
| initial weights (RLlib seeds torch) | run.seed |
| games of an evaluation (`evaluate`) | --seed, and as spawn key: EVALUATION, 0 |
| actions of an evaluation (torch) | --seed |
| the filmed game (`envs.video.FilmedGame`) | --seed |
| games of a calibration (`calibrate.frozen_policy`) | run.seed, and as spawn key: `calibration_set`, iteration |
| batches of a calibration (`calibrate.estimators`) | set, round |
| single observations of a calibration | set, round, EXAMPLES |
| halves of a line search (`calibrate.line_search`) | --seed, iteration |
| intervals by resampling (`critical`) | a fixed seed for each figure |

Sets of environments are numbered from 0 in training. Evaluation and calibration play the same kind of games with the
same seeds, so their sets have numbers that training never reaches.

NumPy pads a seed with zeros: (run.seed, iteration) would be (run.seed, iteration, 0), the first set's actions. So every
stream of training has a third number.
"""

from __future__ import annotations

UPDATE = 0xBA7C4
"""Third number of the stream that draws an update's batches and groups, in place of a set of environments."""

PROBE = 0x9806E
"""Third number of the probe's stream, in place of a set of environments."""

EXAMPLES = 1
"""Third number of the stream that draws a calibration's single observations."""

EVALUATION = 1_000_000
"""Set of environments of an evaluation."""

CALIBRATION_SEEDS = 1_000
"""Seeds of a calibration whose games differ."""

_CALIBRATION = 2_000_000


def calibration_set(set_index: int, seed: int) -> int:
    """Returns the worker index of one of a calibration's sets of environments."""
    return _CALIBRATION + seed % CALIBRATION_SEEDS + CALIBRATION_SEEDS * set_index
