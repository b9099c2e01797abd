"""The calibrated critical batch."""

from __future__ import annotations

import math

from rlgns.config.calibrations import calibration_for


def test_a2c_is_exact_and_ppo_is_widened_and_labelled():
    a2c, ppo = calibration_for(algorithm="a2c", epochs=1), calibration_for(algorithm="ppo", epochs=4)
    assert a2c.exact and a2c.label.startswith("calibrated on A2C: ")
    assert not ppo.exact and ppo.label == "calibrated on A2C"
    narrow, wide = a2c.predict(5000, 4000, 7000), ppo.predict(5000, 4000, 7000)
    assert wide.low < narrow.low < narrow.value == wide.value < narrow.high < wide.high
    assert narrow.value < 2500


def test_a_bound_gives_a_bound_and_nothing_gives_nothing():
    a2c = calibration_for(algorithm="a2c", epochs=1)
    bound = a2c.predict(math.nan, 1000, math.inf)
    assert math.isnan(bound.value) and 0 < bound.low < 1000 and bound.high == math.inf
    nothing = a2c.predict(math.nan, math.nan, math.nan)
    assert math.isnan(nothing.value) and math.isnan(nothing.low) and nothing.high == math.inf
