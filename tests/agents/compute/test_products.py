"""Inner products of rows and their mean, by the compiled kernel and by torch."""

from collections.abc import Iterator
from contextlib import closing

import pytest
import torch

from rlgns.agents.compute import native
from rlgns.agents.compute.flat_gradients import mean_rows_
from rlgns.agents.compute.products import inner_products, products_and_mean_
from rlgns.agents.compute.team import Team
from tests.agents.compute.test_convolutions import needs_kernels

SHAPES = [(1, 5), (2, 16), (3, 2049), (5, 4100), (9, 70_001)]


@pytest.fixture(params=[False, pytest.param(True, marks=needs_kernels)], ids=["torch", "kernel"], autouse=True)
def kernel(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if not request.param:
        monkeypatch.setattr(native, "library", lambda: None)


@pytest.fixture
def single_threaded() -> Iterator[None]:
    """A caller as a learner of one thread is: the sum of a matrix product depends on torch's number of threads."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_rows(count: int, columns: int) -> torch.Tensor:
    """Rows of similar direction, each a slice of a longer one."""
    torch.manual_seed(0)
    return (0.1 + torch.randn(count, columns + 7))[:, 3:-4]


@pytest.mark.parametrize(("count", "columns"), SHAPES)
def test_inner_products_are_those_of_float64(count: int, columns: int) -> None:
    rows = make_rows(count, columns)
    expected = rows.double() @ rows.double().T
    found = inner_products(rows)
    assert found.dtype == torch.float64
    scale = expected.diag().sqrt().outer(expected.diag().sqrt())
    assert ((found - expected).abs() / scale).max() < 1e-6
    torch.testing.assert_close(found, found.T, rtol=1e-5, atol=1e-4)


@pytest.mark.usefixtures("single_threaded")
@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize(("count", "columns"), SHAPES)
def test_products_and_mean_are_those_of_each_alone(count: int, columns: int, threads: int) -> None:
    rows = make_rows(count, columns)
    mine, others, plain = rows.clone(), rows.clone(), rows.clone()
    with closing(Team(threads)) as team, closing(Team(1)) as alone:
        products = products_and_mean_(mine, team)
        assert torch.equal(products, products_and_mean_(others, alone))  # no bit depends on the number of threads
        torch.testing.assert_close(mine[0], mean_rows_(plain, team), rtol=1e-6, atol=1e-7)
    assert torch.equal(mine, others)
    assert torch.equal(mine[1:], rows[1:])
    torch.testing.assert_close(products, inner_products(rows), rtol=1e-5, atol=1e-4)


def test_not_a_number_reaches_the_products() -> None:
    rows = make_rows(3, 5000)
    rows[1, 4321] = float("nan")
    assert inner_products(rows).isnan().sum() == 5  # row and column 1
