"""The line on whose noise it is: only where the interval of the share is on one side of a half."""

from typing import Any

import pytest

from rlgns.critical.whose_noise import whose_noise


def row(share: float | None, low: float | None, high: float | None, **scales: Any) -> dict[str, Any]:
    ends = {"": share, "_low": low, "_high": high}
    return {f"noise/by_loss/value/noise_share{end}": value for end, value in ends.items()} | scales


POLICY = {
    "noise/by_loss/policy/scale": 3000.0,
    "noise/by_loss/policy/scale_low": 2100.0,
    "noise/by_loss/policy/scale_high": None,
    "noise/by_loss/policy/resolved": False,
}
VALUE = {
    "noise/by_loss/value/scale": 620.0,
    "noise/by_loss/value/scale_low": 410.0,
    "noise/by_loss/value/scale_high": 990.0,
    "noise/by_loss/value/resolved": True,
}


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (
            row(0.93, 0.88, 0.97, **POLICY),
            "noise by loss, recently: the value function's gradients make 93 % of the noise (88 % to 97 %); "
            "noise scale of the policy alone, along the steps: at least 2,100",
        ),
        (
            row(0.2, 0.1, 0.45, **VALUE),
            "noise by loss, recently: the policy's gradients make 80 % of the noise (55 % to 90 %); "
            "noise scale of the value function alone, along the steps: 620 (410 to 990)",
        ),
        (
            row(0.95, 0.9, 1.02),
            "noise by loss, recently: the value function's gradients make 95 % of the noise (90 % to 100 %)",
        ),
        (row(0.7, 0.45, 0.95, **POLICY), ""),  # not sure
        (row(0.9, 0.8, None, **POLICY), ""),  # no upper end
        (row(None, None, None), ""),
        ({}, ""),  # of an older run
    ],
)
def test_the_line(given: dict[str, Any], line: str) -> None:
    assert whose_noise(given) == line
