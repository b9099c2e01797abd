"""Optimizer steps replayed on a GPU as one graph each, instead of launched operation by operation."""

from __future__ import annotations

import collections
from collections.abc import Callable, Hashable
from typing import Protocol, final

import torch
from torch import Tensor

Step = Callable[[], Tensor]
"""Takes a step. What it reads and writes between steps lies at fixed addresses; its result is overwritten by the next
step of its kind."""

WARM_UP = 3
"""Steps of a kind that run as they are before one is recorded: libraries allocate and choose algorithms in them."""


class Recorder(Protocol):
    """Records a step."""

    def warm_up(self, step: Step) -> Tensor:
        """Takes the step, as before a recording."""

    def record(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        """Records the step without taking it; returns what takes it, and its result's memory. Raises RuntimeError."""


@final
class CudaRecorder:
    """Records CUDA graphs."""

    def __init__(self) -> None:
        """Makes the stream that steps warm up on; graphs are recorded on one too."""
        self._stream = torch.cuda.Stream()

    def warm_up(self, step: Step) -> Tensor:
        """As in Recorder."""
        self._stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._stream):
            result = step()
        torch.cuda.current_stream().wait_stream(self._stream)
        return result

    def record(self, step: Step) -> tuple[Callable[[], None], Tensor]:
        """As in Recorder. Other threads, which may be playing, can use the GPU meanwhile."""
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            result = step()
        return graph.replay, result


@final
class StepGraphs:
    """Takes steps, and replays those of a kind that has been recorded."""

    def __init__(self, recorder: Recorder | None, say: Callable[[str], None] = print) -> None:
        """Has recorded nothing.

        Args:
            recorder: None: every step is taken as it is.
            say: Gets one line if steps cannot be recorded. They are then taken as they are.
        """
        self._recorder, self._say = recorder, say
        self._addresses: tuple[int, ...] = ()
        self._taken: collections.Counter[Hashable] = collections.Counter()
        self._recorded: dict[Hashable, tuple[Callable[[], None], Tensor]] = {}

    @property
    def enabled(self) -> bool:
        """Whether steps are recorded."""
        return self._recorder is not None

    @property
    def recorded(self) -> int:
        """Kinds of steps that have been recorded."""
        return len(self._recorded)

    def read_from(self, tensors: list[Tensor]) -> None:
        """Notes what the steps read besides the network; where its memory has moved, recordings are thrown away."""
        addresses = tuple(tensor.data_ptr() for tensor in tensors)
        if addresses != self._addresses:
            self._recorded, self._addresses = {}, addresses
            self._taken.clear()

    def take(self, kind: Hashable, step: Step) -> Tensor:
        """Takes a step and returns its result.

        Args:
            kind: Equal for steps that differ in values alone.
            step: Runs now, or ran when this kind was recorded.
        """
        if self._recorder is None:
            return step()
        if kind not in self._recorded:
            self._taken[kind] += 1
            if self._taken[kind] <= WARM_UP:
                return self._recorder.warm_up(step)
            try:
                self._recorded[kind] = self._recorder.record(step)
            except RuntimeError as error:
                self._say(
                    "optimizer steps run operation by operation: recording one as a CUDA graph failed "
                    f"({str(error).splitlines()[0]}); `--engine.cuda_graphs never` does not try"
                )
                self._recorder, self._recorded = None, {}
                return step()
        replay, result = self._recorded[kind]
        replay()
        return result
