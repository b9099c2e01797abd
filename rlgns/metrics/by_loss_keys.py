"""Keys about the noise scale by loss: logged by `rlgns.engine.loss_splits`."""

from __future__ import annotations

from rlgns.metric_key import Key, KeyGroup

WITHOUT = "older runs, and runs with `noise.overhead_budget` 0 or `noise.enabled` false"
NO_SPLIT = "no batch of this iteration was split by loss, or a gradient was not finite"
FEW = "there are not enough measurements"
OF = {
    "policy": "the policy's gradient, with the entropy bonus",
    "value": "the value's gradient, with its coefficient",
}


def _moments(name: str, grad_sq: str, trace: str, formulas: tuple[str, str]) -> tuple[Key, ...]:
    return tuple(
        Key(
            name=f"noise/by_loss/{name}/{moment}",
            kind=float,
            unit="squared norm",
            meaning=f"{meaning}; may be negative",
            formula=formula,
            null_when=NO_SPLIT,
            absent_from=WITHOUT,
        )
        for moment, meaning, formula in zip(("grad_sq", "trace"), (grad_sq, trace), formulas, strict=True)
    )


def _of_loss(loss: str) -> tuple[Key, ...]:
    return _moments(
        loss,
        f"|G|^2 of {OF[loss]}, in this iteration's batch that was split by loss",
        "Its tr(Sigma) per observation in the same batch",
        ("as `noise/grad_sq`", "as `noise/trace`"),
    )


def _scale(loss: str) -> tuple[Key, ...]:
    name = f"noise/by_loss/{loss}"
    return (
        Key(
            name=f"{name}/scale",
            kind=float,
            unit="observations",
            meaning=f"Smoothed noise scale of {OF[loss]}, along the optimizer steps as `noise/scale` is",
            formula=f"`{name}/trace` / `{name}/grad_sq`, both divided by the size of the whole loss's gradients and "
            "smoothed over 200,000 observations of training, or `noise.horizon_observations` if shorter",
            source="[M] eq. 2.9",
            null_when="nothing was measured yet or |G|^2 is not positive",
            absent_from=WITHOUT,
        ),
        Key(
            name=f"{name}/scale_low",
            kind=float,
            unit="observations",
            meaning="Lower end of its confidence interval, at the level `noise.level`",
            formula="Fieller's interval of the ratio",
            null_when=FEW,
            absent_from=WITHOUT,
        ),
        Key(
            name=f"{name}/scale_high",
            kind=float,
            unit="observations",
            meaning="Upper end of its confidence interval",
            formula="Fieller's interval of the ratio",
            null_when=f"only a lower bound is known or {FEW}",
            absent_from=WITHOUT,
        ),
        Key(
            name=f"{name}/resolved",
            kind=bool,
            unit="yes or no",
            meaning="Whether its |G|^2 is distinguishable from 0, so that the interval has two ends",
            absent_from=WITHOUT,
        ),
    )


def _share(name: str, meaning: str, formula: str, unknown: str) -> tuple[Key, ...]:
    return tuple(
        Key(
            name=f"noise/by_loss/value/{name}{end}",
            kind=float,
            unit="ratio",
            meaning=text,
            formula=formula if not end else "Fieller's interval of the ratio",
            null_when=null_when,
            absent_from=WITHOUT,
        )
        for end, text, null_when in (
            ("", meaning, unknown),
            ("_low", "Lower end of its confidence interval", FEW),
            ("_high", "Upper end of its confidence interval", f"the interval is unbounded or {FEW}"),
        )
    )


BY_LOSS = KeyGroup(
    title="Noise scale by loss",
    text="Shows which loss dominates the noise scale. Some of the batches behind `noise/scale` are also split by "
    "loss, at the price of a backward pass each, as often as half of what the live measurement leaves of "
    "`noise.overhead_budget` allows. The rest goes to the probe, whose views of the losses are at the "
    "parameters that played; these are along the optimizer steps ([measurement.md](measurement.md)).",
    keys=(
        *_of_loss("policy"),
        *_of_loss("value"),
        *_moments(
            "cross",
            "Inner product of the two losses' true gradients, in the same batch",
            "Trace of their cross-covariance, per observation",
            ("`policy` + 2 `cross` + `value` is the whole loss's, exactly", "likewise"),
        ),
        *_scale("policy"),
        *_scale("value"),
        *_share(
            "noise_share",
            "Smoothed share of the noise, tr(Sigma) of the whole loss, that the value's gradient makes; the policy's "
            "makes the rest",
            "(`value/trace` + `cross/trace`) / (`policy/trace` + 2 `cross/trace` + `value/trace`)",
            "nothing was measured yet",
        ),
        *_share(
            "signal_share",
            "The same share of the signal, |G|^2",
            "(`value/grad_sq` + `cross/grad_sq`) / (`policy/grad_sq` + 2 `cross/grad_sq` + `value/grad_sq`)",
            "nothing was measured yet or |G|^2 is not positive",
        ),
        Key(
            name="noise/by_loss/batches",
            kind=int,
            unit="measurements",
            meaning="Batches split by loss so far",
            absent_from=WITHOUT,
        ),
        Key(
            name="noise/by_loss/skipped",
            kind=int,
            unit="measurements",
            meaning="Batches left out so far because a gradient was not finite",
            absent_from=WITHOUT,
        ),
        Key(
            name="noise/by_loss/every_iterations",
            kind=int,
            unit="iterations",
            meaning="Iterations from one such batch to the next, from measured times",
            formula="as `noise/probe_every_iterations`, with half of the room f t - m, and c the time of 3/4 of a "
            "batch of an update",
            null_when="there was none yet or the budget leaves no room for one",
            absent_from=WITHOUT,
        ),
    ),
)
