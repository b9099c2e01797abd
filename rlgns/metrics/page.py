"""The page of every logged key, made from their declarations: `python -m rlgns.metrics.page > docs/metrics.md`."""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Sequence

from rlgns.metric_key import Key, KeyGroup
from rlgns.metrics.probe_keys import ACROSS_VIEWS, PROBE_VIEWS, VIEW_KEYS, VIEWS
from rlgns.metrics.registry import GROUPS
from rlgns.metrics.wandb_keys import CHECKPOINT_GAMES, REFERENCE_SCORES, SUMMARY

WIDTH = 120
"""Characters per line of the page."""

_HEAD = """\
# Metrics

Every key of a run's `metrics.jsonl`, which has one JSON object per iteration. W&B gets the same keys. This page is made
from the declarations in `rlgns/metrics/` by `python -m rlgns.metrics.page`, and a test keeps it up to date.

Conventions:

- An observation is what the agent sees at one decision (4 frames by default). Every batch size, every noise scale and
  every x-axis is in observations.
- NaN and infinity are never written: they become null. A key without a note on null is never null, and a key without a
  note on absence is in every row.
- "This iteration" is everything since the previous row.
- "Smoothed" means: numerator and denominator are decayed sums, each on its own, and the ratio is formed when it is
  read. `noise/scale` and `noise/at_rollout/scale` look back as far as the run allows, and log how far; so does each
  view of the probe. All else looks back 200,000 observations (`noise.horizon_observations` if that is shorter).

Sources: [M] McCandlish, Kaplan, Amodei et al. 2018, "An Empirical Model of Large-Batch Training", arXiv:1812.06162;
[S] Schulman et al. 2017, "Proximal Policy Optimization Algorithms", arXiv:1707.06347; [B] Mnih et al. 2015,
"Human-level control through deep reinforcement learning", Nature 518.
"""

_WANDB = """\
## In W&B

There is one W&B run per game and seed, over any number of resumes. The x-axis is `observations`, the step is
`iteration`. The group is the experiment (`run.name`, else the name of the preset or the sweep); the job type is
`train`, or `sweep` for the trials of a sweep. Null values are left out. `game` is in the run's config. The lines
that a terminal without a live table would show are in the run's logs (`files/output.log`).

**Fewer rows**: at most one row per second of training is logged (`output.log_every_s`; 0: every row), always the last
one of a session. Keys that it lacks, such as the probe's, come from the newest row that was left out before it.
`metrics.jsonl` has all rows.

**Names**: WANDB_PROJECT, WANDB_ENTITY, WANDB_RUN_GROUP, WANDB_NAME and WANDB_TAGS count where neither a flag nor a file
sets `wandb.project`, `wandb.entity`, `wandb.group` (or `run.name`), `wandb.name` and `wandb.tags`. WANDB_RUN_ID names a
new run of one game and seed. A resumed run keeps its project, names and id.

**W&B Sweeps**: every key can be a parameter, and a run keeps its id and sweep when it resumes:

    program: rlgns
    command: [python, -m, rlgns, train, --game, pong, "${args}"]
    method: bayes
    metric: {name: best/score_mean, goal: maximize}
    parameters:
      agent.learning_rate: {distribution: log_uniform_values, min: 1.0e-4, max: 1.0e-3}

This was tried with the client offline, not with W&B's servers.

Lists become keys of their own: a rung of the ladder is `noise/ladder/<batch_observations>`, an entry of any other list
`<key>/<its first field>/<name>`, for example `noise/layers/conv1/trace`.
"""

_WANDB_FEATURES = """\
### Offline

Without a login or a reachable server, a run is offline. Upload it with `wandb sync DIR/wandb/offline-run-*`. A run that
was stopped and resumed offline has several such folders; W&B uploads them in order. W&B's client keeps the newest rows
of an offline run in memory (up to 32 kB), so a kill loses them in W&B but not in `metrics.jsonl`. A resumed run reads
W&B's files first and logs what they lack.

### Panels

`rlgns workspace` installs panels in a project (`--entity`, `--project`) as a saved view: score against the reference
scores, critical batch against the batch in use, noise scale with its interval, ladder, views of the probe, throughput,
learning. Running it again updates the same view and overwrites changes made by hand. `--write FILE.json` writes what
W&B would store and needs no login. W&B cannot fill the area between two keys, so an interval is drawn as three lines.
The panels are defined in `rlgns/monitor/wandb_panels.py`. Tests check that they use keys of this page and that they
install on a stand-in for W&B's API; nobody has looked at them in W&B itself.

### Alerts

An alert is sent when the batch in use stays more than `wandb.alert_factor` (2) times below `critical_batch/low`, or
above `critical_batch/high`, for 200,000 observations (`noise.horizon_observations` if that is shorter).
`noise/run_average_resolved` must be true all that time: one row where it is not restarts the wait. The terminal then
prints one line, and W&B sends an alert if its user has enabled alerts. The next alert comes only after the batch was
near the interval for as long, or is far on the other side. Trials of a sweep, whose batches are far off on purpose,
send no alerts.

### Artifacts

`wandb.artifacts report` uploads the report when a session ends (`GAME-ID-report`). `all` also uploads the newest
checkpoint, hourly and at the end (`GAME-ID-checkpoint`). Each is one artifact with versions, and no version is uploaded
twice, however often a run is resumed. The files are kept as links in `DIR/wandb/artifacts/`, so that `wandb sync` finds
them; after the upload the folder may be deleted. Trials of a sweep have no reports of their own.
"""

_OTHERS = """\
## In TensorBoard and Prometheus

`--tensorboard` writes the same numbers as event files into `DIR/tensorboard`, over observations:

    rlgns train --game pong --tensorboard
    tensorboard --logdir runs                       # pip install tensorboard

A resumed run adds the rows that the files lack; each step is shown once, also after a kill or a power cut.

On a Ray cluster (`rlgns submit`, or RAY_ADDRESS) the driver's node exports gauges with Ray's own metrics, labelled with
`game` and `run` (the name of the run's folder): `ray_rlgns_score_mean`, `ray_rlgns_observations_per_second`,
`ray_rlgns_observations`, `ray_rlgns_batch_observations`, `ray_rlgns_critical_batch`, `ray_rlgns_critical_batch_low` and
`ray_rlgns_critical_batch_high`. One that is not known is absent. The Ray that rlgns starts for itself exports none.
"""


def page() -> str:
    """Returns the page in Markdown."""
    sections = [_section(group) for group in GROUPS]
    only_wandb = [_section(group, level=3) for group in (REFERENCE_SCORES, SUMMARY, CHECKPOINT_GAMES)]
    return "\n".join([_HEAD, *sections, _WANDB, *only_wandb, _WANDB_FEATURES, _OTHERS])


def _section(group: KeyGroup, level: int = 2) -> str:
    """Returns a heading, its text and an entry per key. What all of the keys are absent from is said once."""
    absent_from = {key.absent_from for key in group.keys}
    shared = absent_from.pop() if len(absent_from) == 1 else ""
    text = " ".join([group.text, f"All of these keys are absent from {shared}." if shared else ""]).strip()
    blocks = [f"{'#' * level} {group.title}", *([_wrapped(text)] if text else [])]
    if group is PROBE_VIEWS:
        blocks.append("\n".join(_wrapped(f"- **{view}**: {meaning}.", indent="  ") for view, meaning in VIEWS.items()))
        blocks += ["Every view has these keys:", _entries(VIEW_KEYS, shared), "Across views:"]
        blocks.append(_entries(ACROSS_VIEWS, shared))
    else:
        blocks.append(_entries(group.keys, shared))
    return "\n\n".join(blocks) + "\n"


def _entries(keys: Sequence[Key], absent_said: str) -> str:
    return "\n".join(_entry(key, say_absent=not absent_said) for key in keys)


def _entry(key: Key, *, say_absent: bool) -> str:
    sentences = [f"**`{key.name}`** ({key.unit}). {key.meaning}"]
    if key.entry_fields:
        sentences.append(f"A list of entries with {', '.join(f'`{field}`' for field in key.entry_fields)}")
    if key.formula:
        sentences.append(f"*Formula:* {key.formula}{f'; {key.source}' if key.source else ''}")
    elif key.source:
        sentences.append(f"*Source:* {key.source}")
    if key.null_when:
        sentences.append(f"*Null* when {key.null_when}")
    if say_absent and key.absent_from:
        sentences.append(f"*Absent* from {key.absent_from}")
    return _wrapped(f"- {'. '.join(sentences)}.", indent="  ")


def _wrapped(text: str, indent: str = "") -> str:
    """Wraps a paragraph. No line begins with an operator, which Markdown would take for the start of a list."""
    text = re.sub(r" ([-+=>]) ", "\0\\1 ", text)
    lines = textwrap.fill(text, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False)
    return lines.replace("\0", " ")


if __name__ == "__main__":
    sys.stdout.write(page())
