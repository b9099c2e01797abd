"""Inner products of a layer's weight gradients from their factors, against the gradients themselves."""

from contextlib import closing

import pytest
import torch
from torch import Tensor

from rlgns.agents.compute import factored
from rlgns.agents.compute.factored import factored_is_cheaper, factored_products
from rlgns.agents.compute.team import Team

INPUTS, OUTPUTS, BATCH = 40, 24, 48


def factors(dtype: torch.dtype, losses: int = 2) -> tuple[list[Tensor], Tensor]:
    """Gradients of each loss and inputs; as a rectifier leaves them, half of them zero, with a mean in common."""
    draw = torch.Generator().manual_seed(0)

    def some(columns: int) -> Tensor:
        return (torch.randn(BATCH, columns, generator=draw) + 0.3).relu()

    return [(some(OUTPUTS) - 0.4).to(dtype) for _ in range(losses)], some(INPUTS).to(dtype)


def rows_of(gradients: list[Tensor], inputs: Tensor, groups: int) -> Tensor:
    """The slow twin: each group's gradient, an outer product for each observation; float64 [losses * groups, -1]."""
    size, rows = BATCH // groups, []
    for gradient in gradients:
        for group in range(groups):
            mine = range(group * size, (group + 1) * size)
            rows.append(sum(torch.outer(gradient[a].double(), inputs[a].double()) for a in mine).flatten())
    return torch.stack(rows)


def relative_error(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("groups", [1, 2, 8, BATCH])  # up to one observation a group
@pytest.mark.parametrize("losses", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_products_are_those_of_the_rows(groups: int, losses: int, dtype: torch.dtype) -> None:
    """Of bfloat16 factors too: their products are summed in float32."""
    gradients, inputs = factors(dtype, losses)
    rows = rows_of(gradients, inputs, groups)
    found = factored_products(gradients, inputs, groups, Team(1))
    assert found.dtype == torch.float64
    assert found.shape == (losses * groups, losses * groups)
    assert relative_error(found, rows @ rows.T) < (1e-12 if dtype == torch.float64 else 1e-6)


def test_another_pairing_of_factors_is_seen() -> None:
    """The biased twin: each observation's input with its neighbour's gradient."""
    gradients, inputs = factors(torch.float32, 1)
    rows = rows_of(gradients, inputs, 8)
    assert relative_error(factored_products([gradients[0].roll(1, 0)], inputs, 8, Team(1)), rows @ rows.T) > 0.01


@pytest.mark.parametrize("most_pairs", [1, 3 * 2 * BATCH * BATCH // 8])  # a group at a time, and three
def test_batches_too_large_for_one_matrix_are_cut(most_pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    gradients, inputs = factors(torch.float64)
    whole = factored_products(gradients, inputs, 8, Team(1))
    monkeypatch.setattr(factored, "MOST_PAIRS", most_pairs)
    torch.testing.assert_close(factored_products(gradients, inputs, 8, Team(1)), whole, rtol=1e-12, atol=1e-12)


def test_threads_share_the_groups() -> None:
    gradients, inputs = factors(torch.float64)
    with closing(Team(3)) as team:
        found = factored_products(gradients, inputs, 8, team)
    torch.testing.assert_close(found, factored_products(gradients, inputs, 8, Team(1)), rtol=1e-12, atol=1e-12)


def chosen(batch: int, groups: int, dtype: torch.dtype, device: str = "meta") -> bool:
    """For the Nature network; a meta tensor has a device that is no processor."""
    weight = torch.empty(512, 3136, dtype=dtype, device=device)
    return factored_is_cheaper(weight, batch=batch, groups=groups)


def test_counts_choose_factors_for_many_small_groups() -> None:
    assert chosen(1024, 8, torch.bfloat16)  # the preset gpu: 25 MB and 7.6e9 operations, against 565 MB
    assert chosen(4096, 64, torch.bfloat16)
    assert chosen(64, 64, torch.float32)  # one observation a group
    assert not chosen(4096, 8, torch.bfloat16)
    assert not chosen(1024, 8, torch.float32)
    assert not chosen(32_768, 64, torch.bfloat16)
    for batch in (64, 512, 4096):  # more groups never speak against them
        wanted = [chosen(batch, groups, torch.bfloat16) for groups in (2, 4, 8, 16, 32, 64)]
        assert wanted == sorted(wanted)


def test_a_processor_chooses_them_where_they_were_measured_to_be_faster() -> None:
    """The presets' 2 and 4 groups keep their rows, and training there its bits."""
    measured = {(256, 2): False, (256, 8): False, (256, 16): True, (256, 64): True, (64, 64): True}
    for dtype in (torch.float32, torch.bfloat16):
        assert {sizes: chosen(*sizes, dtype, "cpu") for sizes in measured} == measured
