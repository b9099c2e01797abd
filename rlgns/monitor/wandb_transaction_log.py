"""Reads the transaction log that W&B's client writes, as `wandb sync` would: records in LevelDB's log format.

The client's Python package has no reader; the one it uses runs in another process. And what was logged is not what was
written: the client holds the newest rows in memory, and a kill loses them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

BLOCK = 32768
HEADER = 7
FULL, FIRST, MIDDLE, LAST = 1, 2, 3, 4


def raw_records(path: Path) -> Iterator[bytes]:
    """Yields the bytes of each complete record, up to where a kill tore the file.

    The file starts with a header of 7 bytes: ':W&B', a magic number, a version.
    """
    content = path.read_bytes()
    if content[:4] != b":W&B":
        return
    at, parts = HEADER, b""
    while at + HEADER <= len(content):
        if BLOCK - at % BLOCK < HEADER:  # Too little of the block left for a header: padding.
            at += BLOCK - at % BLOCK
            continue
        size, kind = int.from_bytes(content[at + 4 : at + 6], "little"), content[at + 6]
        if kind == 0 or at + HEADER + size > len(content):
            return
        parts += content[at + HEADER : at + HEADER + size]
        at += HEADER + size
        if kind in (FULL, LAST):
            yield parts
            parts = b""


def records(path: Path) -> list[Any]:
    """Returns all records of a .wandb file as protocol buffers."""
    from wandb.proto import wandb_internal_pb2

    record: Any = wandb_internal_pb2.Record  # type: ignore[attr-defined]  # made at import
    return [record.FromString(raw) for raw in raw_records(path)]


def history(path: Path) -> list[dict[str, Any]]:
    """Returns the logged rows of a .wandb file."""
    return [
        {"/".join(item.nested_key) or item.key: json.loads(item.value_json) for item in record.history.item}
        | {"_step": record.history.step.num}
        for record in records(path)
        if record.WhichOneof("record_type") == "history"
    ]


def newest_step(folder: Path) -> int:
    """Returns the newest step in a folder's .wandb files; 0 without any."""
    return max((row["_step"] for path in folder.glob("*run-*/*.wandb") for row in history(path)), default=0)
