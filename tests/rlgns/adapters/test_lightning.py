"""Lightning's callback: moments of a slow twin, training bit for bit the same, one clear error."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

pytest.importorskip("lightning", reason="needs Lightning")

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.loggers import CSVLogger
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics import MeanMetric

from rlgns.adapters.lightning import NoiseScaleCallback
from rlgns.metrics.registry import KEYS
from tests.reference.noise import slow_moments


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Module(LightningModule):
    """Logs, counts, and has all that an extra pass may disturb."""

    def __init__(self, plain: bool = False, bad: bool = False) -> None:
        super().__init__()
        self.net: nn.Module = (
            nn.Linear(4, 1)
            if plain
            else nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 1))
        )
        self.mean, self.rows, self.bad = MeanMetric(), 0, bad
        self.batches: list[Any] = []
        self.before: list[dict[str, torch.Tensor]] = []

    def training_step(self, batch: Any, batch_idx: int) -> torch.Tensor:
        x, target = batch
        self.rows += len(x)
        loss = ((self.net(x)[:, 0] - target) ** 2).mean()
        self.mean.update(loss.detach())
        self.log("loss", loss, on_step=True, on_epoch=True)
        self.log("mean", self.mean.compute())
        return loss * float("nan") if self.bad else loss

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        self.batches.append(batch)
        self.before.append({name: value.clone() for name, value in self.net.state_dict().items()})

    def configure_optimizers(self) -> Any:
        return torch.optim.Adam(self.parameters(), lr=0.01)


def data() -> DataLoader:
    generator = torch.Generator().manual_seed(2)
    x = torch.randn(48, 4, generator=generator)
    return DataLoader(TensorDataset(x, x.sum(1)), batch_size=4)


def fit(
    module: LightningModule,
    folder: Path,
    *callbacks: Any,
    accumulate: int = 1,
    steps: int = 6,
    clip: float | None = 0.1,
) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few workers
        trainer = Trainer(
            max_steps=steps,
            accumulate_grad_batches=accumulate,
            gradient_clip_val=clip,
            callbacks=list(callbacks),
            accelerator="cpu",
            devices=1,
            logger=CSVLogger(folder),
            log_every_n_steps=1,
            default_root_dir=folder,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
    trainer.fit(module, data())
    return trainer


def quiet(**more: Any) -> NoiseScaleCallback:
    return NoiseScaleCallback(**{"overhead": 0.999, "verbose": False, **more})


@pytest.mark.parametrize("accumulate", [1, 3])
def test_training_is_bit_for_bit_the_same(tmp_path: Path, accumulate: int) -> None:
    states, callback = [], quiet()
    for callbacks in ([], [callback]):
        torch.manual_seed(0)
        module = Module()
        trainer = fit(module, tmp_path, *callbacks, accumulate=accumulate)
        seen = {name: float(value) for name, value in trainer.logged_metrics.items() if "noise" not in name}
        optimizer = trainer.optimizers[0].state_dict()["state"]
        states.append((module.state_dict(), optimizer, torch.rand(1).item(), seen, float(module.mean.compute())))
    assert callback.estimate().updates >= 2
    assert set(callback._started().entries()) <= {*KEYS, "noise/observations", "noise/batch_observations"}
    (plain, optimizer, *rest), (ours, our_optimizer, *our_rest) = states
    assert rest == our_rest and len(rest[1]) >= 3
    assert all(torch.equal(plain[name], ours[name]) for name in plain)
    for key, state in optimizer.items():
        assert all(torch.equal(torch.as_tensor(v), torch.as_tensor(our_optimizer[key][n])) for n, v in state.items())


@pytest.mark.parametrize("accumulate", [1, 3])
def test_moments_are_those_of_a_twin_that_holds_every_rows_gradient(tmp_path: Path, accumulate: int) -> None:
    """With accumulation micro-batches are the groups, else rows."""
    torch.manual_seed(0)
    module, callback = Module(plain=True), quiet()
    fit(module, tmp_path, callback, accumulate=accumulate, steps=3)
    twin = nn.Linear(4, 1)
    twin.load_state_dict(module.before[-1])
    parameters = list(twin.parameters())

    def gradient(x: torch.Tensor, target: torch.Tensor) -> np.ndarray:
        found = torch.autograd.grad(((twin(x[None])[:, 0] - target) ** 2).mean(), parameters)
        return torch.cat([g.flatten() for g in found]).double().numpy()

    batches = [[gradient(*pair) for pair in zip(*batch, strict=True)] for batch in module.batches[-accumulate:]]
    groups = [np.stack(batch) for batch in batches] if accumulate > 1 else [row[None] for row in batches[0]]
    grad_sq, trace = slow_moments(groups)
    row = callback.row()
    assert row["batch_observations"] == 4 * accumulate and row["observations"] == 3 * 4 * accumulate
    assert row["noise/trace"] == pytest.approx(trace, rel=1e-4)
    assert row["noise/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)


@pytest.mark.parametrize(("accumulate", "extra"), [(1, 4), (3, 0)])
def test_passes_are_counted(tmp_path: Path, accumulate: int, extra: int) -> None:
    module, callback = Module(plain=True), quiet()
    fit(module, tmp_path, callback, accumulate=accumulate)
    measured = callback.estimate().updates + 1  # the first only sets the size
    assert module.rows == 6 * 4 * accumulate + measured * extra


def test_results_are_logged_and_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    callback = quiet(verbose=True)
    trainer = fit(Module(), tmp_path, callback)
    assert "Noise scale" in capsys.readouterr().out
    assert trainer.logged_metrics["noise/updates"] == callback.estimate().updates
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = quiet()
    with pytest.raises(RuntimeError, match="has measured nothing yet"):
        again.estimate()
    trainer = Trainer(
        max_steps=8,
        callbacks=[again],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Module(), data(), ckpt_path=tmp_path / "last.ckpt")
    assert again.row()["observations"] == 8 * 4
    assert again.estimate().updates >= callback.estimate().updates


def test_nan_is_not_counted_and_warned_of_once(tmp_path: Path) -> None:
    callback = quiet()
    with pytest.warns(RuntimeWarning, match="NaN or infinite and is not counted") as seen:
        fit(Module(plain=True, bad=True), tmp_path, callback, accumulate=2)
    assert len([warning for warning in seen if "not counted" in str(warning.message)]) == 1
    assert callback.estimate().updates == 0 and callback.estimate().skipped >= 2


def test_what_cannot_be_measured_is_refused_before_the_first_step(tmp_path: Path) -> None:
    manual, several = Module(), Module()
    manual.automatic_optimization = False
    several.configure_optimizers = lambda: torch.optim.LBFGS(several.parameters())  # type: ignore[method-assign]
    for module, words in ((manual, "this module steps by itself"), (several, "cannot measure LBFGS")):
        with pytest.raises(ValueError, match=words):
            fit(module, tmp_path, quiet(), clip=None)
        assert module.rows == 0

    class Shards:
        handles_gradient_accumulation = False

    class FSDPStrategy(Shards):
        pass

    trainer = type("Trainer", (), {"strategy": FSDPStrategy()})()
    with pytest.raises(ValueError, match="this one is run by FSDPStrategy: remove the callback"):
        quiet().on_train_start(trainer, manual)
    with pytest.raises(ValueError, match="groups must be at least 2, got 1"):
        quiet(groups=1)
    with pytest.raises(ValueError, match=r"overhead must be from 0 to below 1, got 1\.5"):
        quiet(overhead=1.5)
