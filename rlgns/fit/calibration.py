"""`rlgns fit POINTS --calibration FILE`: measured critical batches and noise scales to a calibration."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from scipy.special import stdtrit

from rlgns import formatting
from rlgns.config.calibrations import calibration_text, known_calibrations, prior_calibrations
from rlgns.config.convert import convert
from rlgns.config.files import shipped_folder
from rlgns.critical.calibration import AT_GOAL, FEWEST_GAMES, PATH_AVERAGE, SHIPPED, Calibration
from rlgns.critical.calibration_choice import nearest_calibration, one_of_each
from rlgns.critical.calibration_fit import fit_ratios, needs_prior
from rlgns.critical.calibration_ratios import NO_SCATTER, Ratio, Scatter, ratio_of, run_scatter
from rlgns.critical.points import REQUIRED_COLUMNS, GoalFit, cell_number, fit_points
from rlgns.errors import UserError
from rlgns.fit.points_file import column_names, read_points, read_table, rom_name
from rlgns.formatting import plural, rounded, times
from rlgns.storage.files import reason, write_atomically
from rlgns.storage.sweep_folder import SweepFolder

GOAL_COLUMNS = ("game", "goal_score", "critical_batch_observations", "noise_scale_observations")
"""Of a table of goals whose critical batch is known already, as configs/paper/critical_batch_by_goal.csv."""


MOST_NAMED = 3
"""Goals that an error names."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What files say of the ratio critical batch / noise scale."""

    ratios: tuple[Ratio, ...]
    definition: str
    """Of the noise scale."""
    left_out: tuple[str, ...]
    """Goals without a ratio, with the reason."""
    bounds: tuple[str, ...] = ()
    """Goals whose critical batch is known from one side alone, with that end."""
    runs: Scatter = NO_SCATTER
    """Of ln(noise scale) between runs to one goal; none in tables of goals."""
    reuse: float | None = None
    """How often a step uses an observation, which is PPO's epochs; None: not known, or it differs."""


def read_measured(paths: Sequence[Path]) -> Measured:
    """Returns the ratios in tables of goals, or those of sweeps after fitting their points.

    Raises:
        UserError: A file cannot be read, is neither kind of table, the files are of both kinds, or a goal comes twice.
    """
    tables = [set(GOAL_COLUMNS) <= set(column_names(path)) for path in paths]
    for path in paths:
        names = column_names(path)
        if not (set(GOAL_COLUMNS) <= set(names) or set(REQUIRED_COLUMNS) <= set(names)):
            raise UserError(
                f"{path}: has neither a sweep's columns ({', '.join(REQUIRED_COLUMNS)}) nor a table of goals' "
                f"({', '.join(GOAL_COLUMNS)})"
            )
    if all(tables):
        rows = [row for path in paths for row in read_table(path, lambda names: None, _parse_goal)]
        left_out = tuple(f"{ratio.game} {ratio.goal_score:g}: not reliable" for ratio, good in rows if not good)
        _refuse_repeats([ratio for ratio, _ in rows])
        return Measured(ratios=tuple(r for r, good in rows if good), definition=AT_GOAL, left_out=left_out)
    if any(tables):
        raise UserError("tables of goals and sweeps' points measure the noise scale differently; fit them separately")
    return measured_by(fit_points([point for path in paths for point in read_points(path)]))


def measured_by(goals: Sequence[GoalFit]) -> Measured:
    """Returns the ratios that fits of sweeps' points measured."""
    found = [(goal, ratio_of(goal)) for goal in goals]
    uses = {goal.reuse for goal in goals if any(point.reached for point in goal.points)}
    return Measured(
        ratios=tuple(ratio for _, ratio in found if ratio is not None),
        definition=PATH_AVERAGE,
        left_out=tuple(f"{goal.game} {goal.goal_score:g}: {_missing(goal)}" for goal, ratio in found if ratio is None),
        bounds=tuple(_bound_text(goal) for goal, ratio in found if ratio is not None and ratio.bound),
        runs=run_scatter([goal for goal, ratio in found if ratio is not None]),
        reuse=uses.pop() if len(uses) == 1 else None,
    )


def trained_with(path: Path) -> tuple[str, int] | None:
    """Returns algorithm and epochs of a sweep's first run; None where the path is a table or no run says them."""
    runs = SweepFolder(path).runs() if path.is_dir() else []
    agent = runs[0].config().get("agent") if runs else None
    if not isinstance(agent, dict) or not {"algorithm", "epochs"} <= agent.keys():
        return None
    return str(agent["algorithm"]), convert(f"{runs[0].path}: agent.epochs", agent["epochs"], int)


def prior_of(measured: Measured, *, name: str, algorithm: str, epochs: int) -> Calibration | None:
    """Returns the shipped calibration that a fit leans on; None where moments do, or none but the one that is fitted.

    With fewer than FEWEST_GAMES games it may be the shipped one for the same, as it is; else it is the nearest other,
    widened.
    """
    if not needs_prior(measured.ratios):
        return None
    key = (algorithm, epochs, measured.definition)
    games = {rom_name(ratio.game) for ratio in measured.ratios if not ratio.bound}
    others = prior_calibrations()
    if len(games) >= FEWEST_GAMES or name in SHIPPED:
        others = [c for c in others if c.key != key]
    return nearest_calibration(others, algorithm=algorithm, epochs=epochs, definition=key[2]) if others else None


def make_calibration(measured: Measured, *, name: str, algorithm: str, epochs: int) -> tuple[Calibration, str | None]:
    """Returns the fitted calibration, and the name of the shipped one that it leans on (`prior_of`); None: on none.

    Raises:
        UserError: No goal has both numbers.
    """
    nearest = prior_of(measured, name=name, algorithm=algorithm, epochs=epochs)
    ratios = [Ratio(**{**asdict(ratio), "game": rom_name(ratio.game)}) for ratio in measured.ratios]
    try:
        fit = fit_ratios(ratios, nearest=nearest, runs=measured.runs)
    except ValueError as error:
        why = f" ({'; '.join(measured.left_out[:MOST_NAMED])})" if measured.left_out else ""
        raise UserError(f"{error}{why}; `rlgns sweep` measures both") from error
    made = Calibration(name=name, algorithm=algorithm, epochs=epochs, definition=measured.definition, **asdict(fit))
    return made, nearest.name if nearest is not None else None


def check_target(path: Path, inputs: Sequence[Path]) -> None:
    """Raises UserError where a calibration cannot go into this file: by its name, or because it is an input."""
    if path.suffix != ".json":
        raise UserError(f"--calibration: FILE must end in .json, got {path}")
    if any(path.resolve() == one.resolve() for one in inputs):
        raise UserError(f"--calibration: {path} is one of the files to fit; name another")


def check_place(path: Path, calibration: Calibration) -> None:
    """Raises UserError where runs would not use this file among those in configs/calibrations."""
    if path.resolve().parent != shipped_folder("calibrations").resolve():
        return
    if SHIPPED.get(path.stem, calibration.key) != calibration.key:
        raise UserError(f"--calibration: {path} is rlgns's own and for {SHIPPED[path.stem][0]}; name another")
    try:
        one_of_each([*known_calibrations(but=path), calibration])
    except ValueError as error:
        raise UserError(f"--calibration: {error}") from error


def write_calibration(path: Path, calibration: Calibration, provenance: Mapping[str, object]) -> None:
    """Writes the file. Raises UserError."""
    try:
        write_atomically(path, calibration_text(calibration, provenance).encode())
    except OSError as error:
        raise UserError(f"--calibration: cannot write {path}: {reason(error)}") from error


def calibration_summary(calibration: Calibration, measured: Measured, level: float) -> str:
    """Returns what was fitted and left out, as text."""
    c, quantile = calibration, float(stdtrit(calibration.degrees_of_freedom, 0.5 + level / 2))
    lines = [
        f"calibration of {c.algorithm.upper()} with {plural(c.epochs, 'epoch')}: {plural(c.games, 'game')}, "
        f"{plural(c.goals, 'goal')}; noise scale: {c.definition}",
        f"critical batch = noise scale / {rounded(math.exp(-c.log_ratio))}; for a run of a new game, {100 * level:g} % "
        f"within a factor of {rounded(math.exp(quantile * c.proxy_sd))}",
        f"one standard deviation: {times(math.exp(c.game_sd))} between games, {times(math.exp(c.goal_sd))} between the "
        f"goals of a game, {times(math.exp(c.run_sd))} between runs, {times(math.exp(c.log_ratio_sd))} of the mean",
        *(f"as a bound: {text}" for text in measured.bounds),
    ]
    if c.games < FEWEST_GAMES:
        drawn = ", and the mean is drawn towards its own" if c.games == 1 else ""
        lines.append(f"fewer than {FEWEST_GAMES} games: the spreads are mostly those of a shipped calibration{drawn}")
    return "\n".join([*lines, *(f"left out: {goal}" for goal in measured.left_out)])


def use_of(path: Path, calibration: Calibration) -> str:
    """Returns what to do for runs to use a calibration's file."""
    folder, runs = shipped_folder("calibrations"), f"runs of {calibration.algorithm} with agent.epochs "
    runs += f"{calibration.epochs} use it"
    return runs if path.resolve().parent == folder.resolve() else f"copy it to {folder}, and {runs}"


def _refuse_repeats(ratios: Sequence[Ratio]) -> None:
    names = [(rom_name(ratio.game), ratio.goal_score) for ratio in ratios]
    for game, goal in names:
        if names.count((game, goal)) > 1:
            raise UserError(f"{game} {goal:g} is given {names.count((game, goal))} times; give each goal once")


def _parse_goal(cells: Mapping[str, str | None]) -> tuple[Ratio, bool]:
    """A goal's ratio, and whether its row counts: the column `reliable`, where there is one, is not `no`."""
    game = (cells["game"] or "").strip()
    if not game:
        raise ValueError("game is empty")
    values = {name: cell_number(cells, name) for name in GOAL_COLUMNS[1:]}
    for name, value in values.items():
        if value is None or (value <= 0 and name != "goal_score"):
            kind = "number" if name == "goal_score" else "positive number"
            raise ValueError(f"{name} must be a {kind}, got {cells[name]!r}")
    goal, critical, noise = (float(value or 0) for value in values.values())
    ratio = Ratio(game=game, goal_score=goal, critical_batch=critical, noise_scale=noise)
    return ratio, (cells.get("reliable") or "").strip().lower() != "no"


def _bound_text(goal: GoalFit) -> str:
    fit, parts = goal.fit, []
    if not fit.identified:
        parts.append(f"critical batch {formatting.interval(None, fit.critical_batch_low, fit.critical_batch_high)}")
    if math.isnan(goal.noise_scale):
        parts.append(f"noise scale at least {rounded(goal.noise_scale_low)}")
    return f"{goal.game} {goal.goal_score:g}: {', '.join(parts)}"


def _missing(goal: GoalFit) -> str:
    if math.isnan(goal.noise_scale_low):
        return "no noise scale was measured"
    if math.isnan(goal.noise_scale):
        return f"noise scale not resolved, at least {rounded(goal.noise_scale_low)}"
    if not (goal.noise_scale_low > 0 and goal.noise_scale_high < math.inf):
        return "no two-sided interval of the noise scale"
    return "no interval of the critical batch"
