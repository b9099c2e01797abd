"""A permutation test of whether two sets of runs differ, over every relabelling."""

from __future__ import annotations

import itertools

import numpy as np


def slow_permutation_p(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The share of relabellings of runs (rows) whose largest difference of means, in sd of all, is not below ours."""
    runs, count = [*ours, *theirs], len(ours)

    def largest(chosen: tuple[int, ...]) -> float:
        differences = []
        for column in range(len(runs[0])):
            values = [run[column] for run in runs]
            one = [values[i] for i in range(len(runs)) if i in chosen]
            other = [values[i] for i in range(len(runs)) if i not in chosen]
            differences.append(abs(sum(one) / len(one) - sum(other) / len(other)) / float(np.std(values)))
        return max(differences)

    real = largest(tuple(range(count)))
    all_ways = [largest(way) for way in itertools.combinations(range(len(runs)), count)]
    return sum(way >= real * (1 - 1e-9) for way in all_ways) / len(all_ways)
