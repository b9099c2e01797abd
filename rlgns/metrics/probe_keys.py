"""Keys about the probe's noise scales: logged by `rlgns.engine.probe`."""

from __future__ import annotations

from dataclasses import replace

from rlgns.metric_key import Key, KeyGroup

NO_BUDGET = "runs with `noise.overhead_budget` 0 or `noise.enabled` false"
NO_PROBE = "rows of iterations without a probe, or whose probe met a gradient that is not finite"

PROBE = KeyGroup(
    title="Probe",
    text="The probe takes extra passes over all new observations of an iteration before its first step, as often as "
    "`noise.overhead_budget` allows ([measurement.md](measurement.md)).",
    keys=(
        Key(
            name="noise/probe_every_iterations",
            kind=int,
            unit="iterations",
            meaning="Iterations from one probe to the next, from measured times",
            formula="c (1 - f) / (f t - m), rounded up: c seconds of a probe, t of an iteration, m of the "
            "measurement during normal training, f the budget",
            null_when="there was no probe yet or the budget leaves no room for one",
            absent_from=NO_BUDGET,
        ),
        Key(
            name="noise/probe_s",
            kind=float,
            unit="seconds",
            meaning="Time that this iteration's probe took; 0 without one",
            absent_from=NO_BUDGET,
        ),
        Key(name="noise/probes", kind=int, unit="probes", meaning="Probes so far", absent_from=NO_BUDGET),
        Key(
            name="noise/probes_skipped",
            kind=int,
            unit="probes",
            meaning="Probes left out so far because a gradient was not finite",
            absent_from=NO_BUDGET,
        ),
        Key(
            name="noise/time_ladder",
            kind=list,
            unit="steps, squared norm",
            meaning="What tr(Sigma) per observation would be if stretches of this many consecutive steps of an "
            "environment were the independent units; smoothed, in units of the gradients' squared size. Empty where "
            "not known",
            formula="l v(l) at l = T/4, T/2, T steps ([measurement.md](measurement.md))",
            absent_from=NO_BUDGET,
            entry_fields=("steps", "trace"),
        ),
        Key(
            name="noise/twice_steps_noise",
            kind=float,
            unit="ratio",
            meaning="Smoothed: the share of a batch's noise that would be left with twice the rollout steps. 1/2 is as "
            "good as twice the environments, 1 is no gain",
            formula="v(2 T) / v(T) = (3 - v(T/2) / v(T)) / 2",
            null_when="not known yet or T is odd",
            absent_from=NO_BUDGET,
        ),
        Key(
            name="noise/twice_steps_noise_low",
            kind=float,
            unit="ratio",
            meaning="Lower end of its confidence interval",
            formula="Fieller's interval of v(T/2) / v(T)",
            null_when="there were fewer than 5 probes or the interval is unbounded",
            absent_from=NO_BUDGET,
        ),
        Key(
            name="noise/twice_steps_noise_high",
            kind=float,
            unit="ratio",
            meaning="Upper end of its confidence interval",
            formula="Fieller's interval of v(T/2) / v(T)",
            null_when="there were fewer than 5 probes or the interval is unbounded",
            absent_from=NO_BUDGET,
        ),
    ),
)

VIEWS: dict[str, str] = {
    "joint": "the whole loss, at the parameters that played. Compare the other views with it and not with "
    "`noise/scale`, which is measured along the optimizer steps",
    "policy": "the policy loss alone",
    "value": "the value loss alone, before its coefficient",
    "entropy": "the policy's mean entropy alone, before its coefficient",
    "preconditioned": "the whole loss, each gradient divided by the square root of what the optimizer divides by",
    "trunk": "the whole loss, on the parameters of all layers but the heads",
    "heads": "the whole loss, on the parameters of both heads",
}
"""What the probe measures the noise scale of. Each view has the keys of VIEW_KEYS."""

VIEW_KEYS = (
    Key(
        name="noise/<view>/grad_sq",
        kind=float,
        unit="squared norm",
        meaning="The view's |G|^2, as `noise/grad_sq`",
        null_when="nothing was measured",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/<view>/trace",
        kind=float,
        unit="squared norm",
        meaning="Its tr(Sigma) per observation, as `noise/trace`",
        null_when="nothing was measured",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/<view>/scale",
        kind=float,
        unit="observations",
        meaning="Its smoothed noise scale, as `noise/scale`",
        null_when="nothing was measured yet or |G|^2 is not positive",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/<view>/scale_low",
        kind=float,
        unit="observations",
        meaning="Lower end of its interval, as `noise/scale_low`",
        null_when="there are not enough measurements",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/<view>/scale_high",
        kind=float,
        unit="observations",
        meaning="Upper end of its interval, as `noise/scale_high`",
        null_when="only a lower bound is known or there are not enough measurements",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/<view>/resolved",
        kind=bool,
        unit="yes or no",
        meaning="Whether its interval has two ends, as `noise/resolved`",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/<view>/dimension",
        kind=float,
        unit="directions",
        meaning="Its noise dimension: how many directions the noise fills",
        formula="tr(Sigma)^2 / tr(Sigma^2), both unbiased and averaged",
        null_when="there are fewer than 4 groups or it is not known yet",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/<view>/design_effect",
        kind=float,
        unit="ratio",
        meaning="Its design effect, as `noise/design_effect`",
        null_when="not known yet",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/<view>/updates_to_resolve",
        kind=float,
        unit="optimizer steps",
        meaning="Batches of `batch_observations` until its |G|^2 typically differs from 0",
        formula="z^2 (4 R + 2 R^2) / dimension, R = scale / batch",
        null_when="scale or dimension is null",
        absent_from=NO_PROBE,
    ),
)
"""Keys of one view; `<view>` stands for its name."""


def keys_of_view(view: str) -> tuple[Key, ...]:
    """Returns the keys of one view under their real names."""
    return tuple(replace(key, name=key.name.replace("<view>", view)) for key in VIEW_KEYS)


ACROSS_VIEWS = (
    Key(
        name="noise/resolves_first",
        kind=str,
        unit="name of a view",
        meaning="The view that needs the fewest updates to resolve its |G|^2",
        formula="smallest `updates_to_resolve`",
        null_when="none is known",
        absent_from=NO_PROBE,
    ),
    Key(
        name="noise/cross_terms",
        kind=list,
        unit="squared norm",
        meaning="Moments between two losses: `grad_sq`, the inner product of their true gradients, and `trace`, that "
        "of their cross-covariance. With the moments of the losses themselves they add up to the joint view's",
        formula="joint = sum over pairs of c_l c_m times each, c = 1, `agent.value_coefficient`, "
        "-`agent.entropy_coefficient`",
        absent_from=NO_PROBE,
        entry_fields=("losses", "grad_sq", "trace"),
    ),
    Key(
        name="noise/layers",
        kind=list,
        unit="squared norm, observations",
        meaning="The whole loss by layer: this probe's `grad_sq` and `trace`, which add up over layers to those of "
        "`noise/joint`, and the smoothed `scale`",
        formula="as for a view, on the layer's parameters",
        absent_from=NO_PROBE,
        entry_fields=("layer", "grad_sq", "trace", "scale"),
    ),
)
"""Keys that compare views or split them."""

PROBE_VIEWS = KeyGroup(
    title="Views of the probe",
    text="A probe measures the noise scale of the whole loss and of its parts. `grad_sq` and `trace` are this probe's. "
    "Everything else is smoothed over probes, in probed observations.",
    keys=(*(key for view in VIEWS for key in keys_of_view(view)), *ACROSS_VIEWS),
)
