"""Which trials a sweep has and when they end, against a slow simulation of trials whose results are known."""

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
        "rule": rule,
    }
    return SweepPlan(**{**fields, **changes})  # type: ignore[arg-type]


CELL = Cell(0, "pong", 64)
LOW, MIDDLE, HIGH = (Trial(CELL, rate) for rate in (0.2, 0.4, 0.8))


def test_the_rule_levels_off_at_large_batches() -> None:
    rule = LearningRateRule(largest=1e-3, batch=256.0, exponent=0.5, count=3, widenings=2)
    assert rule.learning_rate(256, 0) == pytest.approx(1e-3 / 2**0.5, rel=2e-3)
    assert rule.learning_rate(2**30, 0) == 1e-3
    assert rule.learning_rate(256, 1) == pytest.approx(2 * rule.learning_rate(256, 0), rel=3e-3)
    assert list(rule.first) == [-1, 0, 1]
    assert list(LearningRateRule(largest=1, batch=1, exponent=1, count=2, widenings=0).first) == [0, 1]


def test_names_say_everything_once() -> None:
    plan = make_plan(games=("pong", "breakout"), batches=(64, 128), seeds=(0, 1))
    trials = plan.initial_trials()
    assert len({trial.name for trial in trials}) == len(trials) == 2 * 2 * 2 * 3
    assert trials[0].name == "pong-b64-lr0.4-s0"
    assert {trial.cell.seed for trial in trials[:12]} == {0}  # the whole front of one seed before the next


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
    # its first goal is won already, the second can be no more
    own = TrialProgress(observations=400, reached={-19.0: 90})
    assert plan.verdict(LOW, {MIDDLE: quick, LOW: own}) is Verdict.LOST
    # two rivals together take what neither does alone
    split = {MIDDLE: TrialProgress(observations=300, reached={-19.0: 100}), HIGH: TrialProgress(reached={0.0: 200})}
    assert plan.verdict(LOW, {**split, LOW: TrialProgress(observations=200)}) is Verdict.LOST
    assert plan.verdict(LOW, {**split, LOW: TrialProgress(observations=199)}) is Verdict.UNFINISHED
    # another seed or batch is no rival
    for cell in (Cell(1, "pong", 64), Cell(0, "pong", 128)):
        assert plan.verdict(LOW, {Trial(cell, 0.4): quick, LOW: TrialProgress(observations=900)}) is Verdict.UNFINISHED


def test_the_grid_widens_where_the_best_is_on_the_edge_and_only_when_all_have_ended() -> None:
    plan = make_plan()
    lost = TrialProgress(observations=1000)
    best_low = {LOW: TrialProgress(reached={-19.0: 50, 0.0: 60}), MIDDLE: lost}
    assert plan.trials(best_low) == [MIDDLE, LOW, HIGH]
    assert plan.trials({**best_low, HIGH: lost}) == [MIDDLE, LOW, HIGH, Trial(CELL, 0.1)]
    best_middle = {MIDDLE: TrialProgress(reached={-19.0: 50, 0.0: 60}), LOW: lost, HIGH: lost}
    assert plan.trials(best_middle) == [MIDDLE, LOW, HIGH]
    nothing = {MIDDLE: lost, LOW: lost, HIGH: lost}
    assert plan.trials(nothing) == [MIDDLE, LOW, HIGH]  # no goal reached: nothing says which way


def test_goals_that_different_edges_win_widen_both_ways_up_to_the_limit() -> None:
    plan = make_plan()
    found: dict[Trial, TrialProgress] = {}
    for _ in range(20):
        trials = plan.trials(found)
        for trial in trials:  # the lower, the sooner the first goal; the higher, the sooner the second
            first, second = int(100 * trial.learning_rate), int(100 / trial.learning_rate)
            found.setdefault(trial, TrialProgress(observations=1000, reached={-19.0: first, 0.0: second}))
    assert sorted(trial.learning_rate for trial in plan.trials(found)) == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2]
    assert plan.next_trial(found, set()) is None


def test_no_widening_where_none_is_allowed() -> None:
    plan = make_plan(rule=LearningRateRule(largest=0.4, batch=0.0, exponent=0.5, count=3, widenings=0))
    found = {
        trial: TrialProgress(reached={-19.0: int(100 * trial.learning_rate), 0.0: 50}) for trial in (LOW, MIDDLE, HIGH)
    }
    assert plan.trials(found) == [MIDDLE, LOW, HIGH]


def test_a_trial_under_way_is_not_started_again_and_an_unfinished_one_is_gone_on_with() -> None:
    plan = make_plan()
    progress = {MIDDLE: TrialProgress(observations=10)}
    assert plan.next_trial(progress, set()) == MIDDLE
    assert plan.next_trial(progress, {MIDDLE}) == LOW
    assert plan.next_trial(progress, {LOW, MIDDLE, HIGH}) is None
    assert plan.next_trial({MIDDLE: TrialProgress(observations=10, failed=True)}, set()) == LOW


def test_what_was_trained_before_is_reused_when_a_batch_or_seed_is_added() -> None:
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
    """Trains a sweep whose trials' results are known, in steps of random trials; `next_trial` decides."""
    draw = random.Random(seed)
    progress: dict[Trial, TrialProgress] = {}
    live: set[Trial] = set()
    while True:
        while len(live) < at_once and (trial := plan.next_trial(progress, live)) is not None:
            live.add(trial)
        if not live:
            return progress
        trial = draw.choice(sorted(live))
        own = progress.setdefault(trial, TrialProgress())
        own.observations += 50
        own.reached = {goal: need for goal, need in needs[trial].items() if need <= own.observations}
        live = {trial for trial in live if plan.verdict(trial, progress) is Verdict.UNFINISHED}


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 4))
def test_the_best_of_every_goal_is_the_same_as_if_all_were_trained_to_the_end(seed: int, at_once: int) -> None:
    draw = random.Random(seed)
    plan = make_plan(batches=(64, 128), seeds=(0, 1))
    steps = range(-3, 4)
    needs = {
        Trial(cell, plan.rule.learning_rate(cell.batch, step)): {
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
def test_the_order_in_which_trials_happen_to_run_changes_no_trial(seed: int) -> None:
    draw = random.Random(seed)
    plan = make_plan()
    needs = {
        Trial(CELL, plan.rule.learning_rate(64, step)): {goal: draw.randrange(1, 1500) for goal in plan.goals["pong"]}
        for step in range(-3, 4)
    }
    assert set(play(plan, needs, at_once=1, seed=1)) == set(play(plan, needs, at_once=3, seed=2))
