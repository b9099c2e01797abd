"""The noise scale of a small Llama on Python's own help texts, under the Trainer of Transformers. No download.

    pip install -e '.[transformers]'
    python examples/transformers_characters.py

Four micro-batches of eight windows make a step: they are the groups, so nothing is computed twice.
"""

from __future__ import annotations

import tempfile
from pydoc_data.topics import topics

import torch
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from rlgns.adapters.transformers import NoiseScaleTrainer
from rlgns.formatting import interval

WINDOW, STEPS = 64, 300


class Trainer(NoiseScaleTrainer):
    """The steps of so small a model are short, so more of the time goes to measuring; the default is a hundredth."""

    noise_scale_overhead = 0.1


def windows() -> tuple[list[dict[str, torch.Tensor]], int]:
    """Returns the text in windows that do not overlap, and the number of characters."""
    text = "".join(topics.values())
    alphabet = sorted(set(text))
    codes = torch.tensor([alphabet.index(character) for character in text])
    rows = codes[: len(codes) // WINDOW * WINDOW].reshape(-1, WINDOW)
    return [{"input_ids": row, "labels": row} for row in rows], len(alphabet)


def main() -> None:
    """Trains, which ends with the verdict, and prints the noise scale behind it."""
    torch.set_num_threads(1)  # the network is tiny
    data, characters = windows()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=characters,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=WINDOW,
    )
    with tempfile.TemporaryDirectory() as folder:
        settings = TrainingArguments(
            folder,
            per_device_train_batch_size=8,
            gradient_accumulation_steps=4,
            max_steps=STEPS,
            learning_rate=3e-3,
            lr_scheduler_type="constant",
            logging_steps=100,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            disable_tqdm=True,
            seed=0,
        )
        trainer = Trainer(LlamaForCausalLM(config), settings, train_dataset=data)
        trainer.train()
    for entry in trainer.state.log_history:
        if "loss" in entry:
            now = interval(*(entry.get(f"noise/{name}") for name in ("now", "now_low", "now_high")))
            print(f"step {entry['step']}  loss {entry['loss']:.2f}  noise scale now {now} labels")
    print(f"{trainer.noise_scale.entries()['noise/overhead_fraction']:.1%} of the time went to measuring")


if __name__ == "__main__":
    main()
