"""Memory that is used again: by name, by thread, as large as the largest request."""

from concurrent.futures import ThreadPoolExecutor

import torch

from rlgns.agents.buffers import Buffers


def test_a_name_has_the_same_memory_until_more_is_asked_for() -> None:
    buffers = Buffers()
    first = buffers("rows", 3, 4)
    assert first.shape == (3, 4)
    assert first.dtype == torch.float32
    smaller = buffers("rows", 5)
    assert smaller.data_ptr() == first.data_ptr()
    larger = buffers("rows", 4, 4)
    assert larger.data_ptr() != first.data_ptr()
    assert buffers("rows", 3, 4).data_ptr() == larger.data_ptr()
    assert buffers("losses", 3, 4).data_ptr() != larger.data_ptr()


def test_another_type_is_other_memory() -> None:
    buffers = Buffers()
    first = buffers("rows", 4)
    bytes_of_it = buffers("rows", 4, dtype=torch.uint8)
    assert bytes_of_it.dtype == torch.uint8
    assert bytes_of_it.data_ptr() != first.data_ptr()


def test_every_thread_has_its_own() -> None:
    buffers = Buffers()
    mine = buffers("rows", 4)
    with ThreadPoolExecutor(1) as other:
        theirs, again = (other.submit(buffers, "rows", 4).result() for _ in range(2))
    assert theirs.data_ptr() == again.data_ptr() != mine.data_ptr()
