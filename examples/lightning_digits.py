"""The noise scale of a small network on scikit-learn's digits, under Lightning: two lines beside training.

    pip install -e '.[lightning,examples]'
    python examples/lightning_digits.py

Four micro-batches of sixteen images make a step: they are the groups, so nothing is computed twice.
"""

from __future__ import annotations

import warnings

import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from rlgns.adapters.lightning import NoiseScaleCallback
from rlgns.formatting import interval

STEPS = 300


class Digits(LightningModule):
    """Two layers and plain SGD."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch: list[Tensor], batch_idx: int) -> Tensor:
        """Returns the cross-entropy of a micro-batch of images [16, 64] and digits [16]."""
        loss: Tensor = nn.functional.cross_entropy(self.net(batch[0]), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Returns the optimizer."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


def main() -> None:
    """Trains, which ends with the verdict, and prints the noise scale behind it."""
    torch.set_num_threads(1)  # the network is tiny
    warnings.filterwarnings("ignore", module="lightning")
    seed_everything(0)
    images, digits = load_digits(return_X_y=True)
    data = TensorDataset(torch.tensor(images / 16, dtype=torch.float32), torch.tensor(digits))
    callback = NoiseScaleCallback(overhead=0.1)
    trainer = Trainer(
        max_steps=STEPS,
        accumulate_grad_batches=4,
        callbacks=[callback],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(Digits(), DataLoader(data, batch_size=16, shuffle=True, drop_last=True))
    row = callback.row()
    now = interval(*(row[f"noise/{name}"] for name in ("now", "now_low", "now_high")))
    loss = float(trainer.callback_metrics["loss"])
    print(f"Noise scale now: {now} images, from {row['noise/updates']} of {STEPS} steps; loss {loss:.2f}")


if __name__ == "__main__":
    main()
