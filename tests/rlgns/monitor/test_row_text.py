"""Values of a row as texts."""

from __future__ import annotations

from rlgns.monitor.row_text import noise_scale_text
from tests.rows import make_row


def test_a_noise_scale_off_policy_says_so() -> None:
    on_policy, off_policy = make_row(150) | {"policy_lag": 0}, make_row(150) | {"policy_lag": 1}
    assert noise_scale_text(on_policy) == noise_scale_text(make_row(150))
    assert noise_scale_text(off_policy) == noise_scale_text(on_policy) + ", lag 1"
