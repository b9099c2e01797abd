"""The Trainer's mixin: moments of a slow twin, training bit for bit the same, one clear error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("transformers", reason="needs Transformers")
pytest.importorskip("accelerate", reason="needs Accelerate")

from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

from rlgns.adapters.transformers import STATE_FILE, NoiseScaleMixin, NoiseScaleTrainer
from rlgns.metrics.registry import KEYS
from tests.reference.noise import slow_moments
from tests.rlgns.adapters.test_micro_batches import slow_moments_of_sizes

WORDS, LENGTH = 16, 8


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Measured(NoiseScaleTrainer):
    noise_scale_overhead = 0.999
    noise_scale_verbose = False


class Regression(nn.Module):
    """Takes no `num_items_in_batch`, so that the host averages micro-batches; has all that may be disturbed."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 1))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        if self.training:
            self.net(x * (1 + 0.1 * np.random.rand()))  # a model that draws from numpy
        found = self.net(x)[:, 0]
        return {"loss": ((found - labels) ** 2).mean(), "logits": found}


def language(dropout: float = 0.0) -> nn.Module:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=WORDS,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        attention_dropout=dropout,
    )
    return LlamaForCausalLM(config)


def regression() -> nn.Module:
    torch.manual_seed(0)
    return Regression()


def sentences(seed: int = 1) -> list[dict[str, torch.Tensor]]:
    """Of several lengths, so that tokens count and not rows."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(48):
        words = torch.randint(0, WORDS, (LENGTH,), generator=generator)
        length = int(torch.randint(3, LENGTH + 1, (), generator=generator))
        found.append({"input_ids": words, "labels": torch.where(torch.arange(LENGTH) < length, words, -100)})
    return found


def numbers() -> list[dict[str, torch.Tensor]]:
    generator = torch.Generator().manual_seed(2)
    return [{"x": x, "labels": x.sum()} for x in torch.randn(48, 4, generator=generator)]


TASKS = {"language": (lambda: language(0.1), sentences), "regression": (regression, numbers)}


def arguments(folder: Path, accumulation: int, steps: int = 6, **more: Any) -> TrainingArguments:
    settings = {"max_steps": steps, "logging_steps": 2, "save_strategy": "no", "learning_rate": 0.01, **more}
    return TrainingArguments(
        str(folder),
        per_device_train_batch_size=4,
        gradient_accumulation_steps=accumulation,
        max_grad_norm=0.1,
        report_to=[],
        use_cpu=True,
        disable_tqdm=True,
        lr_scheduler_type="constant",
        **settings,
    )


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("accumulation", [1, 3])
def test_training_is_bit_for_bit_the_same(tmp_path: Path, task: str, accumulation: int) -> None:
    build, data = TASKS[task]
    states = []
    for kind in (Trainer, Measured):
        np.random.seed(3)
        model = build()
        trainer = kind(model, arguments(tmp_path, accumulation), train_dataset=data())
        trainer.train()
        draws = (torch.rand(1).item(), float(np.random.random()))
        states.append((model.state_dict(), trainer.optimizer.state_dict()["state"], draws))
    assert trainer.noise_scale.estimate().updates >= 2
    assert set(trainer.noise_scale.entries()) <= {*KEYS, "noise/observations", "noise/batch_observations"}
    (plain, optimizer, draws), (ours, our_optimizer, our_draws) = states
    assert draws == our_draws
    assert all(torch.equal(plain[name], ours[name]) for name in plain)
    for key, state in optimizer.items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(our_optimizer[key][n])) for n, v in state.items())


class Seen(TrainerCallback):
    """Parameters before each step."""

    def __init__(self) -> None:
        self.states: list[dict[str, torch.Tensor]] = []

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.states.append({name: value.clone() for name, value in kwargs["model"].state_dict().items()})


class Recorded(Measured):
    """Keeps micro-batches and what was measured of the last step."""

    def training_step(self, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        self.steps = [*getattr(self, "steps", []), inputs]
        return super().training_step(model, inputs, *args, **kwargs)


def token_gradients(model: nn.Module, batch: dict[str, torch.Tensor]) -> np.ndarray:
    """[labels, parameters] float64: one autograd.grad per label, batch row by batch row."""
    parameters, found = list(model.parameters()), []
    for words, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        logits = model(input_ids=words[None]).logits[0]
        for place in range(1, len(words)):
            if labels[place] != -100:
                loss = nn.functional.cross_entropy(logits[place - 1 : place], labels[place : place + 1])
                gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
                found.append(torch.cat([g.flatten() for g in gradients]).double().numpy())
    return np.stack(found)


def test_micro_batches_are_the_groups_and_labels_the_observations(tmp_path: Path) -> None:
    seen = Seen()
    trainer = Recorded(language(), arguments(tmp_path, 3, steps=3), train_dataset=sentences(), callbacks=[seen])
    trainer.train()
    model = language()
    model.load_state_dict(seen.states[2])
    groups = [token_gradients(model, batch) for batch in trainer.steps[-3:]]
    assert len({len(group) for group in groups}) > 1
    grad_sq, trace = slow_moments_of_sizes(groups, equal=False)
    row = trainer.noise_scale.row()
    assert row["batch_observations"] == sum(map(len, groups)) and row["batch_rows"] == 12
    assert row["noise/trace"] == pytest.approx(trace, rel=1e-4)
    assert row["noise/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)


def test_without_accumulation_rows_are_split_in_an_extra_pass(tmp_path: Path) -> None:
    seen = Seen()
    trainer = Recorded(language(), arguments(tmp_path, 1, steps=3), train_dataset=sentences(), callbacks=[seen])
    trainer.train()
    model = language()
    model.load_state_dict(seen.states[2])
    batch = trainer.steps[-1]
    rows = [{name: part[row : row + 1] for name, part in batch.items()} for row in range(4)]
    grad_sq, trace = slow_moments_of_sizes([token_gradients(model, row) for row in rows], equal=False)
    row = trainer.noise_scale.row()
    assert row["noise/trace"] == pytest.approx(trace, rel=1e-4)
    assert row["noise/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)


def test_where_the_host_averages_micro_batches_rows_are_the_observations(tmp_path: Path) -> None:
    seen = Seen()
    model = nn.Linear(4, 1)

    class Plain(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = model

        def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"loss": ((self.net(x)[:, 0] - labels) ** 2).mean()}

    trainer = Recorded(Plain(), arguments(tmp_path, 3, steps=3), train_dataset=numbers(), callbacks=[seen])
    trainer.train()
    twin = Plain()
    twin.load_state_dict(seen.states[2])
    parameters = list(twin.parameters())

    def gradient(x: torch.Tensor, labels: torch.Tensor) -> np.ndarray:
        found = torch.autograd.grad(twin(x[None], labels[None])["loss"], parameters)
        return torch.cat([g.flatten() for g in found]).double().numpy()

    groups = [
        np.stack([gradient(*pair) for pair in zip(batch["x"], batch["labels"], strict=True)])
        for batch in trainer.steps[-3:]
    ]
    grad_sq, trace = slow_moments(groups)
    row = trainer.noise_scale.row()
    assert row["batch_observations"] == 12 and row["noise/trace"] == pytest.approx(trace, rel=1e-4)
    assert row["noise/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)


class Counted(nn.Module):
    """Counts forward passes in units of rows."""

    def __init__(self) -> None:
        super().__init__()
        self.net, self.rows = nn.Linear(4, 1), 0

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        self.rows += len(x)
        return {"loss": ((self.net(x)[:, 0] - labels) ** 2).mean()}


@pytest.mark.parametrize(("accumulation", "extra"), [(1, 4), (3, 0)])
def test_passes_are_counted(tmp_path: Path, accumulation: int, extra: int) -> None:
    """An extra pass over each measured step's rows without accumulation, none with it."""
    model = Counted()
    trainer = Measured(model, arguments(tmp_path, accumulation), train_dataset=numbers())
    trainer.train()
    row = trainer.noise_scale.row()
    measured = row["noise/updates"] + 1  # the first only sets the size
    assert model.rows == 6 * 4 * accumulation + measured * extra


def test_results_are_logged_with_the_loss_and_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Speaking(Measured):
        noise_scale_verbose = True

    settings = arguments(tmp_path, 2, steps=8, save_strategy="steps", save_steps=4)
    trainer = Speaking(language(), settings, train_dataset=sentences())
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert "noise/trace" not in logs[0] and logs[-1]["noise/updates"] == trainer.noise_scale.estimate().updates
    assert "Noise scale" in capsys.readouterr().out
    saved = json.loads((tmp_path / "checkpoint-4" / STATE_FILE).read_text())
    again = Measured(language(), arguments(tmp_path, 2, steps=4), train_dataset=sentences())
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert again._noise_scale_state == saved
    more = Measured(language(), settings, train_dataset=sentences())
    more.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert more.noise_scale.row()["observations"] == trainer.noise_scale.row()["observations"]


def test_nan_is_not_counted_and_warned_of_once(tmp_path: Path) -> None:
    data = numbers()
    for row in data:
        row["labels"] = torch.tensor(float("nan"))
    trainer = Measured(Counted(), arguments(tmp_path, 2), train_dataset=data)
    with pytest.warns(RuntimeWarning, match="NaN or infinite and is not counted") as seen:
        trainer.train()
    assert len([warning for warning in seen if "not counted" in str(warning.message)]) == 1
    assert trainer.noise_scale.estimate().updates == 0 and trainer.noise_scale.estimate().skipped >= 2


def test_base_classes_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(TypeError, match=r"write `class Wrong\(NoiseScaleMixin, Trainer\)`"):

        class Wrong(Trainer, NoiseScaleMixin):
            pass


def test_a_host_without_the_hook_is_refused() -> None:
    class OldTrainer:
        def training_step(self, model: Any, inputs: Any) -> None: ...

    class Mine(NoiseScaleMixin, OldTrainer):
        pass

    with pytest.raises(ValueError, match=r"calls training_step\(model, inputs\), and NoiseScaleMixin needs num_items"):
        Mine()


def test_a_sharded_model_is_refused(tmp_path: Path) -> None:
    trainer = Measured(language(), arguments(tmp_path, 2), train_dataset=sentences())
    trainer.accelerator.state.distributed_type = type(trainer.accelerator.distributed_type).FSDP
    try:
        with pytest.raises(ValueError, match="every process holds whole, and this one is run by FSDP"):
            trainer._begin(trainer.model)
    finally:
        trainer.accelerator.state.distributed_type = type(trainer.accelerator.distributed_type).NO
