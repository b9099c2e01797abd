"""Which trials a sweep has and when they stop, against a simulation of trials with known results."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rlgns.sweep.learning_rates import LearningRateRule
from rlgns.sweep.plan import Cell, SweepPlan, Trial, TrialProgress, Verdict


def make_plan(**changes: object) -> SweepPlan:
    rule = LearningRateRule(largest=0.4, batch=0.0, exponent=0.5, count=3, widenings=2)
    fields: dict[str, object] = {
        "games": ("pong",),
        "batches": (64,),
        "seeds": (0,),
        "goals": {"pong": (-19.0, 0.0), "breakout": (2.0,)},
        "budget": 1000,
        "learning_rate_rule": rule,
    }
    return SweepPlan(**{**fields, **changes})  # type: ignore[arg-type]


CELL = Cell(0, "pong", 64)
LOW, MIDDLE, HIGH = (Trial(CELL, rate) for rate in (0.2, 0.4, 0.8))


def test_the_rule_levels_off_at_large_batches() -> None:
    rule = LearningRateRule(largest=1e-3, batch=256.0, exponent=0.5, count=3, widenings=2)
    assert rule.learning_rate(256, 0) == pytest.approx(1e-3 / 2**0.5, rel=2e-3)
    assert rule.learning_rate(2**30, 0) == 1e-3
    assert rule.learning_rate(256, 1) == pytest.approx(2 * rule.learning_rate(256, 0), rel=3e-3)
    assert list(rule.initial_steps) == [-1, 0, 1]
    assert list(LearningRateRule(largest=1, batch=1, exponent=1, count=2, widenings=0).initial_steps) == [0, 1]


def test_every_trial_has_its_own_name() -> None:
    plan = make_plan(games=("pong", "breakout"), batches=(64, 128), seeds=(0, 1))
    trials = plan.initial_trials()
    assert len({trial.name for trial in trials}) == len(trials) == 2 * 2 * 2 * 3
    assert trials[0].name == "pong-b64-lr0.4-s0"
    assert {trial.cell.seed for trial in trials[:12]} == {0}  # all trials of one seed before the next


def test_the_centre_comes_first() -> None:
    assert make_plan().initial_trials() == [MIDDLE, LOW, HIGH]


def test_verdicts() -> None:
    plan = make_plan()
    quick = TrialProgress(observations=500, reached={-19.0: 100, 0.0: 400})
    assert plan.verdict(LOW, {}) is Verdict.UNFINISHED
    assert plan.verdict(LOW, {LOW: TrialProgress(observations=999)}) is Verdict.UNFINISHED
    assert plan.verdict(LOW, {LOW: TrialProgress(observations=1000)}) is Verdict.BUDGET
    assert plan.verdict(LOW, {LOW: quick}) is Verdict.REACHED
    assert plan.verdict(LOW, {LOW: TrialProgress(failed=True)}) is Verdict.FAILED


def test_a_trial_is_lost_only_when_no_goal_is_left_to_win() -> None:
    plan = make_plan()
    quick = TrialProgress(observations=500, reached={-19.0: 100, 0.0: 400})
    assert plan.verdict(LOW, {MIDDLE: quick, LOW: TrialProgress(observations=399)}) is Verdict.UNFINISHED
    assert plan.verdict(LOW, {MIDDLE: quick, LOW: TrialProgress(observations=400)}) is Verdict.LOST
    # it has won its first goal and can no longer win the second
    own = TrialProgress(observations=400, reached={-19.0: 90})
    assert plan.verdict(LOW, {MIDDLE: quick, LOW: own}) is Verdict.LOST
    # two other trials together win the goals that neither wins alone
    split = {MIDDLE: TrialProgress(observations=300, reached={-19.0: 100}), HIGH: TrialProgress(reached={0.0: 200})}
    assert plan.verdict(LOW, {**split, LOW: TrialProgress(observations=200)}) is Verdict.LOST
    assert plan.verdict(LOW, {**split, LOW: TrialProgress(observations=199)}) is Verdict.UNFINISHED
    # trials of another seed or batch do not compete
    for cell in (Cell(1, "pong", 64), Cell(0, "pong", 128)):
        assert plan.verdict(LOW, {Trial(cell, 0.4): quick, LOW: TrialProgress(observations=900)}) is Verdict.UNFINISHED


def test_the_grid_widens_at_an_edge_that_wins_once_all_trials_have_ended() -> None:
    plan = make_plan()
    lost = TrialProgress(observations=1000)
    best_low = {LOW: TrialProgress(reached={-19.0: 50, 0.0: 60}), MIDDLE: lost}
    assert plan.trials(best_low) == [MIDDLE, LOW, HIGH]
    assert plan.trials({**best_low, HIGH: lost}) == [MIDDLE, LOW, HIGH, Trial(CELL, 0.1)]
    best_middle = {MIDDLE: TrialProgress(reached={-19.0: 50, 0.0: 60}), LOW: lost, HIGH: lost}
    assert plan.trials(best_middle) == [MIDDLE, LOW, HIGH]
    nothing = {MIDDLE: lost, LOW: lost, HIGH: lost}
    assert plan.trials(nothing) == [MIDDLE, LOW, HIGH]  # no goal reached, so no direction


def test_goals_won_on_both_edges_widen_both_ways_up_to_the_limit() -> None:
    plan = make_plan()
    found: dict[Trial, TrialProgress] = {}
    for _ in range(20):
        trials = plan.trials(found)
        for trial in trials:  # low rates win the first goal, high rates the second
            first, second = int(100 * trial.learning_rate), int(100 / trial.learning_rate)
            found.setdefault(trial, TrialProgress(observations=1000, reached={-19.0: first, 0.0: second}))
    assert sorted(trial.learning_rate for trial in plan.trials(found)) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert plan.next_trial(found, set()) is None


def test_no_widening_where_none_is_allowed() -> None:
    plan = make_plan(learning_rate_rule=LearningRateRule(largest=0.4, batch=0.0, exponent=0.5, count=3, widenings=0))
    found = {
        trial: TrialProgress(reached={-19.0: int(100 * trial.learning_rate), 0.0: 50}) for trial in (LOW, MIDDLE, HIGH)
    }
    assert plan.trials(found) == [MIDDLE, LOW, HIGH]


def test_a_running_trial_is_not_started_again_and_an_unfinished_one_is_resumed() -> None:
    plan = make_plan()
    progress = {MIDDLE: TrialProgress(observations=10)}
    assert plan.next_trial(progress, set()) == MIDDLE
    assert plan.next_trial(progress, {MIDDLE}) == LOW
    assert plan.next_trial(progress, {LOW, MIDDLE, HIGH}) is None
    assert plan.next_trial({MIDDLE: TrialProgress(observations=10, failed=True)}, set()) == LOW


def test_earlier_trials_are_kept_when_a_batch_or_seed_is_added() -> None:
    plan = make_plan()
    done = {trial: TrialProgress(observations=1000) for trial in (LOW, HIGH)}
    done[MIDDLE] = TrialProgress(observations=30, reached={-19.0: 9, 0.0: 20})
    wider = make_plan(batches=(32, 64), seeds=(0, 1))
    kept = [trial for trial in wider.trials(done) if wider.verdict(trial, done) is not Verdict.UNFINISHED]
    assert set(kept) == set(plan.trials(done)) == {LOW, MIDDLE, HIGH}
    assert len(wider.trials(done)) == len(kept) + 3 * 3


def play(
    plan: SweepPlan, needs: dict[Trial, dict[float, int]], *, at_once: int, seed: int
) -> dict[Trial, TrialProgress]:
    """Simulates a sweep: random running trials advance a step at a time, and the plan starts and stops them."""
    draw = random.Random(seed)
    progress: dict[Trial, TrialProgress] = {}
    running: set[Trial] = set()
    while True:
        while len(running) < at_once and (trial := plan.next_trial(progress, running)) is not None:
            running.add(trial)
        if not running:
            return progress
        trial = draw.choice(sorted(running))
        own = progress.setdefault(trial, TrialProgress())
        own.observations += 50
        own.reached = {goal: need for goal, need in needs[trial].items() if need <= own.observations}
        running = {trial for trial in running if plan.verdict(trial, progress) is Verdict.UNFINISHED}


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_stopping_early_never_changes_the_best_of_a_goal(seed: int, at_once: int) -> None:
    draw = random.Random(seed)
    plan = make_plan(batches=(64, 128), seeds=(0, 1))
    steps = range(-3, 4)
    needs = {
        Trial(cell, plan.learning_rate_rule.learning_rate(cell.batch, step)): {
            goal: draw.randrange(1, 1500) for goal in plan.goals["pong"]
        }
        for cell in plan.cells
        for step in steps
    }
    stopped_early = play(plan, needs, at_once=at_once, seed=seed)
    to_the_end = {
        trial: TrialProgress(observations=1000, reached={goal: need for goal, need in wanted.items() if need <= 1000})
        for trial, wanted in needs.items()
    }
    assert set(stopped_early) == set(plan.trials(stopped_early))
    for cell in plan.cells:
        tried = {trial: to_the_end[trial] for trial in stopped_early if trial.cell == cell}
        for goal in plan.goals["pong"]:
            assert plan.best(cell, goal, stopped_early) == plan.best(cell, goal, tried)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000))
def test_which_trials_are_tried_does_not_depend_on_their_order(seed: int) -> None:
    draw = random.Random(seed)
    plan = make_plan()
    needs = {
        Trial(CELL, plan.learning_rate_rule.learning_rate(64, step)): {
            goal: draw.randrange(1, 1500) for goal in plan.goals["pong"]
        }
        for step in range(-3, 4)
    }
    assert set(play(plan, needs, at_once=1, seed=1)) == set(play(plan, needs, at_once=3, seed=2))
