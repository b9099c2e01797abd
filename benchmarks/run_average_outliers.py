"""What steps with very large gradients do to the run average and the noise scale now, and what capping them would do.

    python -m benchmarks.run_average_outliers [--seeds 12] [--steps 6000]

Simulated runs at batch 160 with a known average: of constant noise, with *spikes* (at one step in a hundred the network
is off: the gradient is 3 to 55 times as long, and alike in all groups), and with *rare events* (each group's noise
comes from one step in fifty, as with rare rewards). Prints, for the run average as it is and with large rows scaled
down to at most CAP times the rows before, the geometric mean of estimate / truth, how often the 95 % interval holds the
truth, and the median share of the signal that outliers have. Then the same of the noise scale now at the end of each
run where it is resolved, its coverage both with the upper end that its mean has and with the one that is given.
docs/notes/outliers.md has the result.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import gmean

from rlgns.critical.run_average import SIZE_ROWS, AverageEstimate, RunAverage
from rlgns.noise.gradient_size import GradientSize
from rlgns.noise.moments import Moments as BatchMoments
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker

BATCH, DIMENSIONS, CAP, HORIZON = 160, 200, 4.0, 200_000.0
KINDS = ("constant", "spikes", "rare events")

Moments = tuple[float, float]


def simulate(kind: str, groups: int, steps: int, rng: np.random.Generator) -> tuple[float, list[Moments]]:
    """Returns the true average (appendix D) and each step's unbiased |G|^2 and trace."""
    grad_sq, noise = np.full(steps, 1e-3), np.full(steps, 8000.0 if kind == "spikes" else 2000.0)
    if kind == "spikes":
        spike = rng.random(steps) < 0.01
        grad_sq[spike] *= np.exp(rng.uniform(math.log(10), math.log(3000), spike.sum()))
        noise[spike] = 200.0
    weight = 1 / (1 + noise / BATCH)
    found = []
    for of_step, scale in zip(grad_sq, noise, strict=True):
        deviation = math.sqrt(of_step * scale * groups / BATCH / DIMENSIONS)
        vectors = deviation * rng.standard_normal((groups, DIMENSIONS))
        if kind == "rare events":
            vectors *= np.where(rng.random((groups, 1)) < 0.02, math.sqrt(50), 0.0)
        vectors[:, 0] += math.sqrt(of_step)
        products = vectors @ vectors.T
        own = float(np.trace(products))
        across = (float(products.sum()) - own) / (groups * (groups - 1))
        found.append((across, (own / groups - across) * BATCH / groups))
    return float((weight * noise).sum() / weight.sum()), found


def run_average(moments: Sequence[Moments], groups: int, cap: float) -> AverageEstimate:
    """Returns the run average of these steps, with rows scaled down to `cap` times the mean size of those before.

    A row's size is the sum of its groups' squared gradients, which no sign changes.
    """
    found, sizes = RunAverage(), list[float]()
    for grad_sq, trace in moments:
        size = grad_sq + groups * trace / BATCH
        before = float(np.mean(sizes[-SIZE_ROWS:])) if sizes else size
        factor = min(1.0, cap * before / size) if size > 0 else 1.0
        sizes.append(size * factor)
        found.update(grad_sq=grad_sq * factor, trace=trace * factor, batch=BATCH, steps=1, learning_rate=None)
    return found.estimate()


def noise_now(moments: Sequence[Moments], groups: int) -> NoiseScaleEstimate:
    """Returns the noise scale now after these steps, smoothed as in training."""
    size, tracker = GradientSize(), NoiseScaleTracker(HORIZON, follows_run=True)
    for grad_sq, trace in moments:
        batch = BatchMoments(grad_sq=grad_sq, trace=trace, groups=groups, observations_per_group=BATCH // groups)
        relative = size.divide(batch)
        if relative is None:
            tracker.restart()
        else:
            tracker.update(relative)
    return tracker.estimate()


def line(kind: str, groups: int, *, seeds: int, steps: int) -> str:
    """Returns a line of the table."""
    runs = [simulate(kind, groups, steps, np.random.default_rng(seed)) for seed in range(seeds)]
    cells = [kind, str(groups), f"{np.mean([truth for truth, _ in runs]):,.0f}"]
    shares = []
    for cap in (math.inf, CAP):
        found = [(truth, run_average(moments, groups, cap)) for truth, moments in runs]
        covered = np.mean([one.low <= truth <= one.high for truth, one in found])
        cells.append(f"{gmean([one.value / truth for truth, one in found]):.2f}, {100 * covered:.0f} %")
        shares.append(float(np.median([one.outlier_share for _, one in found])))
    cells.append(f"{shares[0]:.2f}")
    now = [(truth, noise_now(moments, groups)) for truth, moments in runs]
    now = [(truth, one) for truth, one in now if one.resolved]
    holds = [one.low <= truth <= one.high for truth, one in now]
    given = [one.now_low <= truth <= one.now_high for truth, one in now]
    cells.append(f"{gmean([one.noise_scale / truth for truth, one in now]):.2f}, {len(now)} of {seeds}")
    cells.append(f"{100 * np.mean(holds):.0f} %, {100 * np.mean(given):.0f} %")
    cells.append(f"{np.median([one.outlier_share for _, one in now]):.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=12)
    parser.add_argument("--steps", type=int, default=6000)
    options = parser.parse_args()
    now = "noise scale now / truth, resolved | covered by its mean's interval, by the one given | its share of outliers"
    print(f"| noise | groups | truth | run average / truth, covered | capped at {CAP:g} | share of outliers | {now} |")
    print(f"| --- {'| ---: ' * 8}|")
    for kind in KINDS:
        for groups in (2, 8):
            print(line(kind, groups, seeds=options.seeds, steps=options.steps), flush=True)


if __name__ == "__main__":
    main()
