"""Text tasks: a small LSTM predicts the next word or character of any text file.

Every line of the file is a document. A draw is a document with WINDOWS windows of it, so windows of one document, which
are alike, stay in one group: the document is the independent unit, as the environment is in a game. Documents are
drawn in proportion to their length.
"""

from __future__ import annotations

import gzip
import zlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import cast, final

import torch
from torch import Generator, Tensor, nn
from torch.nn import functional as F

from examples.tasks.problem import Problem
from rlgns.errors import UserError

WINDOW = 16
"""Tokens predicted in one window."""
WINDOWS = 2
"""Windows of one draw."""
EVALUATED = 500
"""Windows in the fixed sample of the training data that gives the goal loss."""
VOCABULARY = 1000
"""Most words, or characters, that the model knows; all others are one token."""


@final
class Lstm(nn.Module):
    """An embedding, one LSTM and a linear head, all of one width."""

    def __init__(self, vocabulary: int, width: int) -> None:
        super().__init__()
        self.embed = nn.Embedding(vocabulary, width)
        self.lstm = nn.LSTM(width, width, batch_first=True)
        self.head = nn.Linear(width, vocabulary)

    def forward(self, tokens: Tensor) -> Tensor:
        """Returns logits [windows, WINDOW, vocabulary] of tokens [windows, WINDOW]."""
        return cast(Tensor, self.head(self.lstm(self.embed(tokens))[0]))


def text_problem(unit: str, data: str, width: int) -> Problem:
    """Returns the problem of an LSTM on a text.

    Args:
        unit: `words` or `characters`.
        data: path of a text file, gzip or not, one document a line.
        width: of the model.

    Raises:
        UserError: No file was named, it cannot be read, or no document is long enough.
    """
    documents = [line.split() if unit == "words" else line for line in _lines(data)]
    documents = [document for document in documents if len(document) > WINDOW]
    if not documents:
        raise UserError(f"--data {data}: no line has more than {WINDOW} {unit}")
    tokens, vocabulary = encode(documents)
    lengths = torch.tensor([len(document) for document in documents])
    starts = lengths.cumsum(0) - lengths

    def draw(count: int, generator: Generator) -> Tensor:
        """Places of windows [draws, WINDOWS]."""
        chosen = torch.multinomial(lengths.to(torch.float64), count, replacement=True, generator=generator)
        # In float64 a place never rounds up to the end of the document.
        within = torch.rand(count, WINDOWS, generator=generator, dtype=torch.float64)
        return starts[chosen][:, None] + (within * (lengths[chosen] - WINDOW)[:, None]).long()

    def loss(model: nn.Module, places: Tensor, generator: Generator) -> Tensor:
        windows = tokens[places.flatten()[:, None] + torch.arange(WINDOW + 1)]
        return F.cross_entropy(model(windows[:, :-1]).flatten(0, 1), windows[:, 1:].flatten())

    fixed = draw(EVALUATED // WINDOWS, Generator().manual_seed(0))

    @torch.no_grad()
    def goal_loss(model: nn.Module) -> float:
        return loss(model, fixed, Generator()).item()

    return Problem(
        unit=unit,
        per_draw=WINDOWS * WINDOW,
        model=lambda: Lstm(vocabulary, width),
        draw=draw,
        loss=loss,
        goal_loss=goal_loss,
    )


def encode(documents: Sequence[Sequence[str]]) -> tuple[Tensor, int]:
    """Returns the tokens of all documents, one after another, and the size of the vocabulary; token 0 is any other."""
    counts = Counter(token for document in documents for token in document)
    code = {token: place for place, (token, _) in enumerate(counts.most_common(VOCABULARY - 1), start=1)}
    return torch.tensor([code.get(token, 0) for document in documents for token in document]), len(code) + 1


def _lines(data: str) -> list[str]:
    if not data:
        raise UserError("a text task needs a text file, one document a line: --data FILE")
    path = Path(data)
    try:
        content = path.read_bytes()
        text = (gzip.decompress(content) if path.suffix == ".gz" else content).decode()
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"--data {data}: cannot be read as text: {error}") from error
    return text.splitlines()
