"""Memory that is kept: by name, by thread, as large as was ever asked for."""

from concurrent.futures import ThreadPoolExecutor

import torch

from rlgns.agents.compute.buffers import Buffers


def test_a_name_has_the_same_memory_until_more_is_asked_for() -> None:
    kept = Buffers()
    first = kept("rows", 3, 4)
    assert first.shape == (3, 4)
    assert first.dtype == torch.float32
    smaller = kept("rows", 5)
    assert smaller.data_ptr() == first.data_ptr()
    larger = kept("rows", 4, 4)
    assert larger.data_ptr() != first.data_ptr()
    assert kept("rows", 3, 4).data_ptr() == larger.data_ptr()
    assert kept("losses", 3, 4).data_ptr() != larger.data_ptr()


def test_another_type_is_other_memory() -> None:
    kept = Buffers()
    first = kept("rows", 4)
    bytes_of_it = kept("rows", 4, dtype=torch.uint8)
    assert bytes_of_it.dtype == torch.uint8
    assert bytes_of_it.data_ptr() != first.data_ptr()


def test_every_thread_has_its_own() -> None:
    kept = Buffers()
    mine = kept("rows", 4)
    with ThreadPoolExecutor(1) as other:
        theirs, again = (other.submit(kept, "rows", 4).result() for _ in range(2))
    assert theirs.data_ptr() == again.data_ptr() != mine.data_ptr()
