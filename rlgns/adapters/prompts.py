"""The noise scale of a model that learns from several completions a prompt: how many prompts, how many completions."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, final

from rlgns.adapters.advice import sentence
from rlgns.adapters.record import NoiseScaleRecord
from rlgns.formatting import interval
from rlgns.noise.gradient_size import scaled
from rlgns.noise.nested import NestedMoments, noise_left
from rlgns.noise.noise_scale import scale_entries
from rlgns.noise.tracker import NoiseScaleEstimate, NoiseScaleTracker

PREFIX = "noise/at_rollout"
"""Completions as observations, prompts as the independent units, at the parameters that generated them."""

LEVELS = ("prompts", "completions")


@final
class PromptNoiseScale:
    """Noise between prompts and between the completions of one, from the generations that were measured."""

    def __init__(self, *, per_prompt: int, level: float = 0.95) -> None:
        """Starts with nothing measured; `per_prompt`: completions. Raises ValueError for a level outside (0, 1)."""
        self._per_prompt, self._level = per_prompt, level
        self._record = NoiseScaleRecord(prefix=PREFIX, level=level)
        self._trackers = {name: NoiseScaleTracker(None, level, follows_run=True) for name in (*LEVELS, "between_share")}

    def update(self, nested: NestedMoments | None, **conditions: Any) -> None:
        """Adds a generation; conditions as in `NoiseScaleRecord.update`."""
        self._record.update(None if nested is None else nested.moments(), **conditions)
        if nested is None:
            return
        divisor = self._record.divisor
        found = (nested.between_moments(), nested.within_moments(), nested.share_moments())
        for tracker, moments in zip(self._trackers.values(), found, strict=True):
            if divisor is None:
                tracker.restart()
            else:
                tracker.update(scaled(moments, 1 / divisor))

    def estimate(self) -> NoiseScaleEstimate:
        """Returns the noise scale in completions, with prompts as the independent units, as of now."""
        return self._record.estimate()

    def level(self, name: str) -> NoiseScaleEstimate:
        """Returns the noise of one level over |G|^2, as of now: `prompts`, in prompts, or `completions`."""
        return self._trackers[name].estimate()

    def between_share(self) -> NoiseScaleEstimate:
        """Returns the share of a batch's noise that is between prompts, from 0 to 1, in place of a noise scale."""
        return self._trackers["between_share"].estimate()

    def row(self) -> dict[str, Any]:
        """Returns the entries and their conditions; empty before the first measurement."""
        row = self._record.row()
        if not row:
            return {}
        for name in LEVELS:
            row |= scale_entries(f"noise/{name}", self.level(name))
        share = self.between_share()
        between, within = self.level("prompts").trace, self.level("completions").trace
        single = between + within
        return row | {
            "noise/design_effect": (self._per_prompt * between + within) / single if single > 0 else math.nan,
            "noise/twice_completions_noise": noise_left(share.noise_scale),
            "noise/twice_completions_noise_low": noise_left(share.now_low),
            "noise/twice_completions_noise_high": noise_left(share.now_high),
        }

    def entries(self) -> dict[str, Any]:
        """Returns what a logger gets: the known numbers of `row` under noise/."""
        return {
            name: value
            for name, value in self.row().items()
            if name.startswith("noise/")
            if not isinstance(value, float) or math.isfinite(value)
        }

    def sentence(self) -> str:
        """Returns what is known of the batch and of both levels, for people."""
        return f"{sentence(self.row(), 'completions', PREFIX)}\n{self.advice()}"

    def advice(self) -> str:
        """Returns whether more prompts or more completions a prompt are worth it.

        Twice the prompts leave half of the noise. Twice the completions of each leave (1 + s) / 2 of it, s the share
        that is between prompts; their limit is s.
        """
        share = self.between_share()
        if not math.isfinite(share.now_high):
            return "More prompts or more completions a prompt: not known yet; more prompts are never worse."
        left = interval(
            noise_left(max(0.0, share.noise_scale)),
            noise_left(share.now_low),
            noise_left(min(1.0, share.now_high)),
        )
        what = f"Twice the prompts leave 0.50 of the noise, twice the {self._per_prompt} completions of each {left}"
        if share.now_low > 0.5:
            return f"{what}: take more prompts, since most of the noise is between them."
        if share.now_high < 0.5:
            return f"{what}: both help, since most of the noise is within prompts; take what is cheaper."
        return f"{what}: more prompts are never worse."

    def state_dict(self) -> dict[str, Any]:
        """Returns everything measured, as plain Python numbers and lists."""
        return {
            "record": self._record.state_dict(),
            "trackers": {name: tracker.state_dict() for name, tracker in self._trackers.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        self._record.load_state_dict(state["record"])
        for name, tracker in self._trackers.items():
            tracker.load_state_dict(state["trackers"][name])
