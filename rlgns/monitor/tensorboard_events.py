"""TensorBoard's event files: one event a row, readable after a kill at any byte.

A file is a sequence of records: length (8 bytes), its checksum (4), an `Event` as protocol buffer, its checksum (4).
tensorboardX, which Ray brings, has the protocol buffers and writes files, but reads none.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, final

LENGTH, CHECKSUM = 8, 4
PATTERN = "events.out.tfevents.*"


@final
class EventFile:
    """A new event file in a folder. Each event is flushed, so that a kill loses none.

    TensorBoard drops what other files of the folder hold from `first_step` on: no step is shown twice.
    """

    def __init__(self, folder: Path, *, first_step: int) -> None:
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2

        folder.mkdir(parents=True, exist_ok=True)
        self._event: Any = event_pb2.Event
        self._writer = EventsWriter(str(folder / "events"), filename_suffix=f".{first_step:012d}")
        start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
        self._write(step=first_step, session_log=start)

    def write(self, step: int, scalars: Mapping[str, float]) -> None:
        """Writes numbers by tag."""
        from tensorboardX.proto.summary_pb2 import Summary

        values = [Summary.Value(tag=tag, simple_value=float(value)) for tag, value in scalars.items()]
        self._write(step=step, summary=Summary(value=values))

    def close(self) -> None:
        """Closes the file."""
        self._writer.close()

    def _write(self, **fields: Any) -> None:
        self._writer.write_event(self._event(wall_time=time.time(), **fields))
        self._writer.flush()


def events(folder: Path) -> Iterator[Any]:
    """Yields the complete events of a folder's files, oldest first, as protocol buffers."""
    from tensorboardX.proto.event_pb2 import Event

    for path in sorted(folder.glob(PATTERN)):
        with path.open("rb") as file:
            while len(head := file.read(LENGTH + CHECKSUM)) == LENGTH + CHECKSUM:
                size = int.from_bytes(head[:LENGTH], "little")
                content = file.read(size + CHECKSUM)
                if len(content) < size + CHECKSUM:
                    break  # torn by a kill
                yield Event.FromString(content[:size])


def newest_step(folder: Path) -> int:
    """Returns the newest step that TensorBoard shows; 0 without any."""
    newest = 0
    for event in events(folder):
        if event.WhichOneof("what") == "session_log":
            newest = min(newest, event.step - 1)
        elif event.WhichOneof("what") == "summary":
            newest = event.step
    return newest
