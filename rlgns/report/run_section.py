"""The section about one run: results, figures, settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

from rlgns import formatting
from rlgns.critical.whose_noise import whose_noise
from rlgns.fit.gain_table import predicted_gain
from rlgns.report.html_elements import facts_html, figure_html, link_html, prose, table_html, tiles_html
from rlgns.report.run_data import RunData
from rlgns.report.run_figures import GAMES, run_figures

PROXY = (
    "The critical batch is the batch at which training needs twice the fewest possible optimizer steps and twice the "
    "fewest possible observations. Here it is predicted: the run average of the noise scale, divided by a ratio that "
    "sweeps of a few games measured; the verdict names their algorithm. The interval says how far games and runs "
    "differ. Only a sweep over batch sizes measures it."
)
"""What a reader needs to know before the numbers."""


OFF_POLICY = (
    "In {lagged} of {of} iterations the rollout was played by weights one update old (engine.async_lag 1). Noise scale "
    "and critical batch are those of gradients that are off policy by one update."
)


def result_texts(run: RunData) -> dict[str, str]:
    """Returns a run's results as texts, by name."""
    last = run.last
    critical = (last.get(f"critical_batch/{name}") for name in ("predicted", "low", "high"))
    return {
        "observations": formatting.count(last.get("observations")),
        "score": formatting.score(last.get("score_mean")),
        "human-normalised": formatting.percent(last.get("human_normalised_score")),
        "critical batch": formatting.interval(*critical),
        "noise scale, run average": run.verdict.noise_scale,
        "batch in use": formatting.count(last.get("batch_observations")) + (" (adaptive)" if run.adaptive else ""),
    }


def run_blocks(run: RunData, anchor: str, max_points: int, level: int = 3, *, verdict: bool = True) -> list[str]:
    """Returns a run's section as HTML blocks, with at most `max_points` points per line.

    Args:
        run: The run.
        anchor: Prefix of its figures' anchors.
        max_points: Points per line, at most.
        level: Of the figures' headings.
        verdict: Whether to begin with the verdict; not where the page does.
    """
    advice = formatting.first_upper(run.advice.sentence(interval=True))
    blocks = [f'<p class="advice">{prose(run.verdict.sentence())}</p>'] if verdict else []
    blocks += [_tiles(run), f"<p>{prose(advice)}.</p>"]
    if noise := whose_noise(run.last):
        blocks.append(f"<p>{prose(formatting.first_upper(noise))}.</p>")
    lagged = sum(1 for row in run.rows if row.get("policy_lag"))
    if lagged:
        blocks.append(f'<p class="warning">{prose(OFF_POLICY.format(lagged=lagged, of=len(run.rows)))}</p>')
    warning = run.learning_rate_warning
    if warning:
        blocks.append(f'<p class="warning">{prose(formatting.first_upper(warning))}.</p>')
    blocks += [
        figure_html(figure, f"{anchor}-{figure.name}", run.label, level) for figure in run_figures(run, max_points)
    ]
    return [*blocks, _facts(run)]


def overview(runs: Sequence[RunData], anchors: Sequence[str]) -> str:
    """Returns a table with a row per run. The first runs, which have an anchor, are links to their sections."""
    lines = [
        (link_html(anchor, run.label) if anchor else run.label, *result_texts(run).values())
        for run, anchor in zip_longest(runs, anchors)
    ]
    return table_html("Results of each run", ("run", *result_texts(runs[0])), lines)


def _tiles(run: RunData) -> str:
    last, final = run.last, result_texts(run)
    human = f"{final['human-normalised']} of a human tester" if final["human-normalised"] != formatting.NOTHING else ""
    games = last.get("score_episodes") or 0
    over = (
        f"mean of {'the last 100 games' if games > GAMES else formatting.plural(games, 'full game')}" if games else ""
    )
    tiles = [
        ("Critical batch, predicted", *_value_and_interval(final["critical batch"])),
        ("Batch in use", final["batch in use"], "observations per optimizer step"),
        ("Noise scale, run average", *_value_and_interval(final["noise scale, run average"])),
        ("Score", final["score"], ", ".join(filter(None, (over, human)))),
        ("Observations", formatting.short(last.get("observations")), f"in {formatting.duration(last.get('seconds'))}"),
    ]
    return tiles_html(tiles)


def _value_and_interval(text: str) -> tuple[str, str]:
    """Splits '410 (280 to 640)' into the number and its interval."""
    value, bracket, interval = text.partition(" (")
    return (
        (value, interval.rstrip(")") + " observations")
        if bracket
        else (text, "observations" if text[-1:].isdigit() else "")
    )


def _facts(run: RunData) -> str:
    last, about = run.last, run.about
    facts = {
        "game": about.get("game", run.label),
        "protocol": _words(about.get("protocol") or _get(run.config, "env", "protocol")),
        "seed": _get(run.config, "run", "seed"),
        "hardware": _words(about.get("hardware")),
        "versions": _words(about.get("versions")),
        "started": about.get("created"),
        "code": _words(about.get("git")),
        "time": formatting.duration(last.get("seconds")),
        "observations/s": formatting.count(last.get("throughput/observations_per_s")),
        **result_texts(run),
        "conditions": formatting.first_upper(", ".join(run.verdict.conditions)),
        "batch": _batches(run),
        "adaptive batch, predicted": _gamma(run) if run.adaptive else "",
        "advice in wall-clock time": formatting.first_upper(run.advice.hours(last.get("seconds") or 0.0)),
    }
    return facts_html("Settings and results", facts)


def _batches(run: RunData) -> str:
    """Returns the batches that an adaptive run used: 'adaptive: 128 to 1,024 observations'; '' for a fixed batch."""
    used = [row["batch_observations"] for row in run.rows if row.get("batch_observations")] if run.adaptive else []
    return f"adaptive: {formatting.count(min(used))} to {formatting.count(max(used))} observations" if used else ""


def _gamma(run: RunData) -> str:
    text = predicted_gain(run.adaptive_gamma).partition(": ")[2]
    return formatting.first_upper(text)


def _words(value: Any) -> str:
    """Returns a nested value on one line: 'torch 2.13.0, ray 2.60.0'."""
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_words(entry)}" for name, entry in value.items() if entry not in (None, ""))
    if isinstance(value, list | tuple):
        return ", ".join(_words(entry) for entry in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _get(tree: Mapping[str, Any], *path: str) -> Any:
    for name in path:
        tree = tree.get(name, {}) if isinstance(tree, Mapping) else {}
    return None if tree == {} else tree
