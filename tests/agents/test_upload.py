"""Arrays for a device, in one block or where they are."""

import pytest
import torch
from torch import Tensor

from rlgns.agents.upload import ALIGNED, Upload

CPU = torch.device("cpu")


def arrays(seed: int) -> list[list[Tensor]]:
    """Of several types and lengths, in one part and in two."""
    draw = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.randint(0, 255, shape, generator=draw)

    return [
        [some(5, 2, 3, 3).byte(), some(5, 1, 3, 3).byte()],
        [some(7)],
        [some(3, 1).double(), some(3, 4).double()],
        [some(5).float()],
    ]


@pytest.mark.parametrize("packs", [True, False])
def test_arrays_are_joined_along_the_environments(packs: bool) -> None:
    upload, places = Upload(CPU, packs=packs), []
    for seed in range(3):
        given = arrays(seed)
        found = upload(given)
        for parts, array in zip(given, found, strict=True):
            assert torch.equal(array, parts[0] if len(parts) == 1 else torch.cat(parts, 1))
            assert array.is_contiguous()
            assert packs == (array.untyped_storage().data_ptr() == found[0].untyped_storage().data_ptr()) or (
                array is found[0]
            )
        places.append([array.data_ptr() for array in found])
    if packs:
        assert places[0] == places[1] == places[2]  # a recorded step reads them there
        assert all(place % ALIGNED == 0 for place in places[0])


def test_without_packing_a_single_part_is_not_copied() -> None:
    given = arrays(0)
    assert Upload(CPU)(given)[1] is given[1][0]
