"""Whether NoiseScaleMonitor says what holds now: its interval in training against a fresh monitor on the frozen model.

    python -m benchmarks.monitor_now [--tasks regression classifier characters cartpole] [--steps 600]

Each task trains with Adam and a monitor as in the README, without a setting. At three times the model is copied, and a
fresh monitor measures the copy for `--frozen-steps` steps without an optimizer, in batches FROZEN_BATCH times as large
where observations are drawn independently. The twin sums all moments from the
start alike, as the monitor did before it followed the run. Prints the table of docs/results/monitor-now.md.
"""

from __future__ import annotations

import argparse
import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pydoc_data.topics import topics

import torch
from torch import Tensor, nn

from rlgns.formatting import interval
from rlgns.noise import NoiseScaleMonitor, NoiseScaleTracker

GROUPS = 8
READ_AT = (0.1, 0.3, 1.0)
FROZEN_BATCH = 8

Part = tuple[Callable[[nn.Module], Tensor], int]
"""The mean loss of one part of a batch, and its observations."""
Draw = Callable[[nn.Module, torch.Generator, int], Iterator[Part]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Task:
    """A model and its batches."""

    model: nn.Module
    draw: Draw
    """Yields the parts of one batch, so many times as large; the model is for tasks that play."""
    learning_rate: float


def squared_error(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Returns the mean squared error."""
    return nn.functional.mse_loss(model(x), y)


def cross_entropy(model: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Returns the mean cross-entropy."""
    return nn.functional.cross_entropy(model(x), y)


def regression() -> Task:
    """A random function of 10 numbers, with noise; batches of 64."""
    torch.manual_seed(0)
    teacher = nn.Sequential(nn.Linear(10, 32), nn.Tanh(), nn.Linear(32, 1)).requires_grad_(False)

    def draw(_: nn.Module, generator: torch.Generator, times: int) -> Iterator[Part]:
        for _part in range(GROUPS):
            x = torch.randn(8 * times, 10, generator=generator)
            y = 3 * teacher(x) + 0.5 * torch.randn(8 * times, 1, generator=generator)
            yield partial(squared_error, x=x, y=y), 8 * times

    model = nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 1))
    return Task(model=model, draw=draw, learning_rate=0.003)


def classifier() -> Task:
    """Ten classes of 20 numbers, one label in ten wrong; batches of 64."""
    torch.manual_seed(1)
    centres = torch.randn(10, 20)

    def draw(_: nn.Module, generator: torch.Generator, times: int) -> Iterator[Part]:
        for _part in range(GROUPS):
            label = torch.randint(0, 10, (8 * times,), generator=generator)
            x = centres[label] + 1.2 * torch.randn(8 * times, 20, generator=generator)
            wrong = torch.rand(8 * times, generator=generator) < 0.1
            label = torch.where(wrong, torch.randint(0, 10, (8 * times,), generator=generator), label)
            yield partial(cross_entropy, x=x, y=label), 8 * times

    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 10))
    return Task(model=model, draw=draw, learning_rate=0.003)


class Characters(nn.Module):
    """An embedding, one convolution over 8 characters, one layer: logits [windows, alphabet, length - 8]."""

    def __init__(self, alphabet: int) -> None:
        super().__init__()
        self.embed, self.mix, self.head = nn.Embedding(alphabet, 8), nn.Conv1d(8, 32, 8), nn.Conv1d(32, alphabet, 1)

    def forward(self, codes: Tensor) -> Tensor:
        """Returns the logits of the character after each 8."""
        logits: Tensor = self.head(torch.relu(self.mix(self.embed(codes).transpose(1, 2))))
        return logits


def characters() -> Task:
    """The next character of Python's help texts; batches of 16 windows of 16 characters."""
    torch.manual_seed(2)
    text = "".join(topics.values())
    place = {character: code for code, character in enumerate(sorted(set(text)))}
    codes = torch.tensor([place[character] for character in text])

    def draw(_: nn.Module, generator: torch.Generator, times: int) -> Iterator[Part]:
        for _part in range(GROUPS):
            starts = torch.randint(len(codes) - 24, (2 * times,), generator=generator)
            window = codes[starts[:, None] + torch.arange(24)]
            yield partial(cross_entropy, x=window[:, :-1], y=window[:, 8:]), 32 * times

    return Task(model=Characters(len(place)), draw=draw, learning_rate=0.003)


def cartpole() -> Task:
    """REINFORCE on gymnasium's CartPole, at most 100 steps a game; a part is two games."""
    import gymnasium

    torch.manual_seed(3)
    games = gymnasium.make("CartPole-v1", max_episode_steps=100)

    def play(model: nn.Module, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        seed = int(torch.randint(1 << 30, (1,), generator=generator))
        seen, actions, done = [games.reset(seed=seed)[0]], [], False
        with torch.no_grad():
            while not done:
                probability = torch.sigmoid(model(torch.as_tensor(seen[-1])))
                actions.append(int(torch.rand(1, generator=generator) < probability))
                observation, _, ended, cut, _ = games.step(actions[-1])
                done = ended or cut
                seen.append(observation)
        steps = len(actions)
        returns = torch.arange(steps, 0, -1, dtype=torch.float32) / 20 - 1
        return torch.stack([torch.as_tensor(s) for s in seen[:-1]]), torch.tensor(actions), returns

    def loss(model: nn.Module, seen: Tensor, actions: Tensor, returns: Tensor) -> Tensor:
        logits = model(seen).squeeze(1)
        chosen = nn.functional.logsigmoid(torch.where(actions == 1, logits, -logits))
        return -(chosen * returns).mean()

    def draw(model: nn.Module, generator: torch.Generator, _: int) -> Iterator[Part]:
        for _part in range(GROUPS):
            both = zip(play(model, generator), play(model, generator), strict=True)
            seen, actions, returns = (torch.cat(two) for two in both)
            yield partial(loss, seen=seen, actions=actions, returns=returns), len(seen)

    model = nn.Sequential(nn.Linear(4, 32), nn.Tanh(), nn.Linear(32, 1))
    return Task(model=model, draw=draw, learning_rate=0.01)


TASKS = {task.__name__: task for task in (regression, classifier, characters, cartpole)}


def take(monitor: NoiseScaleMonitor, model: nn.Module, draw: Draw, generator: torch.Generator, times: int = 1) -> None:
    """Measures one batch; its mean gradient is left in the model."""
    with monitor.step():
        for loss, observations in draw(model, generator, times):
            monitor.backward(loss(model), observations=observations)


@dataclass(frozen=True, kw_only=True, slots=True)
class Reading:
    """What both monitors say at one step."""

    task: str
    step: int
    horizon_share: float
    now: tuple[float, float, float]
    frozen: tuple[float, float, float]
    twin: tuple[float, float, float]

    @property
    def covered(self) -> bool:
        """Whether the frozen model's noise scale lies within the interval of now."""
        return self.now[1] <= self.frozen[0] <= self.now[2]

    @property
    def overlaps(self) -> bool:
        """Whether the two intervals have a point in common."""
        return self.now[1] <= self.frozen[2] and self.frozen[1] <= self.now[2]

    @property
    def twin_covered(self) -> bool:
        """Whether it lies within the interval of plain sums from the start."""
        return self.twin[1] <= self.frozen[0] <= self.twin[2]


def readings(name: str, steps: int, frozen_steps: int) -> list[Reading]:
    """Trains one task and measures it at three times."""
    task = TASKS[name]()
    optimizer = torch.optim.Adam(task.model.parameters(), lr=task.learning_rate)
    monitor, twin = NoiseScaleMonitor(task.model, groups=GROUPS), NoiseScaleTracker()
    generator, found = torch.Generator().manual_seed(10), []
    for step in range(1, steps + 1):
        take(monitor, task.model, task.draw, generator)
        assert monitor.moments is not None
        twin.update(monitor.moments)
        if step in {round(share * steps) for share in READ_AT}:
            still = copy.deepcopy(task.model)
            fresh, other = NoiseScaleMonitor(still, groups=GROUPS), torch.Generator().manual_seed(step)
            for _ in range(frozen_steps):
                take(fresh, still, task.draw, other, FROZEN_BATCH)
            now, frozen, plain = monitor.estimate(), fresh.estimate(), twin.estimate()
            found.append(
                Reading(
                    task=name,
                    step=step,
                    horizon_share=now.horizon_observations / max(plain.observations, 1),
                    now=(now.noise_scale, now.now_low, now.now_high),
                    frozen=(frozen.noise_scale, frozen.low, frozen.high),
                    twin=(plain.noise_scale, plain.low, plain.high),
                )
            )
        optimizer.step()
    return found


def line(reading: Reading) -> str:
    """One row of the table."""

    def shown(values: tuple[float, float, float]) -> str:
        return interval(*(value if math.isfinite(value) else None for value in values))

    verdict = "yes" if reading.covered else "intervals overlap" if reading.overlaps else "no"
    return (
        f"| {reading.task} | {reading.step:,} | {shown(reading.now)} | {reading.horizon_share:.2f} | "
        f"{shown(reading.frozen)} | {verdict} | {shown(reading.twin)} | {'yes' if reading.twin_covered else 'no'} |"
    )


def main() -> None:
    """Prints the table as it grows."""
    parser = argparse.ArgumentParser(description="NoiseScaleMonitor in training against a frozen model")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--steps", type=int, default=600, help="optimizer steps")
    parser.add_argument("--frozen-steps", type=int, default=200, help="steps of each frozen measurement")
    chosen = parser.parse_args()
    print("| task | step | now | H / run | frozen | inside | plain sums from the start | inside |")
    print("|---" * 8 + "|")
    for name in chosen.tasks:
        for reading in readings(name, chosen.steps, chosen.frozen_steps):
            print(line(reading), flush=True)


if __name__ == "__main__":
    main()
