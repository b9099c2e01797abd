"""More prompts or more completions? GRPO of TRL teaches a tiny random Llama to add; no download.

    pip install -e '.[trl]'
    python examples/trl_sums.py

A prompt is "3 plus 4 is"; the reward of a completion is higher the nearer its first number is to the sum. Sixteen
prompts with eight completions each make a step.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig

from rlgns.adapters.trl import NoiseScaleGRPOTrainer
from rlgns.formatting import interval

WORDS = ["<pad>", "<eos>", "<bos>", *map(str, range(19)), "plus", "is"]
STEPS = 240


class Trainer(NoiseScaleGRPOTrainer):
    """The steps of so small a model are short, so more of the time goes to measuring; the default is a hundredth."""

    noise_scale_overhead = 0.5


def tokenizer() -> PreTrainedTokenizerFast:
    """Returns a tokenizer that knows WORDS."""
    found = Tokenizer(models.WordLevel({word: code for code, word in enumerate(WORDS)}, unk_token="<pad>"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", padding_side="left"
    )


def reward(prompts: list[str], completions: list[str], answer: list[int], **more: Any) -> list[float]:
    """Returns 1 for the right number first, less the further from it, and -1 for none."""
    found = []
    for text, right in zip(completions, answer, strict=True):
        first = next(iter(text.split()), "")
        found.append(1 - abs(int(first) - right) / 9 if first.isdigit() else -1.0)
    return found


def main() -> None:
    """Trains, which ends with the advice, and prints both noise levels."""
    torch.set_num_threads(1)  # the network is tiny
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        max_position_embeddings=16,
    )
    data = Dataset.from_list([{"prompt": f"{a} plus {b} is", "answer": a + b} for a in range(10) for b in range(10)])
    with tempfile.TemporaryDirectory() as folder:
        settings = GRPOConfig(
            folder,
            per_device_train_batch_size=64,
            gradient_accumulation_steps=2,
            num_generations=8,
            max_completion_length=2,
            max_steps=STEPS,
            learning_rate=3e-3,
            lr_scheduler_type="constant",
            logging_steps=STEPS // 3,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            bf16=False,
            disable_tqdm=True,
            seed=0,
        )
        trainer = Trainer(
            LlamaForCausalLM(config), reward, args=settings, train_dataset=data, processing_class=tokenizer()
        )
        trainer.train()
    noise, row = trainer.noise_scale, trainer.noise_scale.row()
    for name in ("prompts", "completions"):
        level = interval(*(row[f"noise/{name}/{end}"] for end in ("now", "now_low", "now_high")))
        print(f"Noise between {name}: {level} {name}")
    print(f"Design effect: {row['noise/design_effect']:.2f}")
    rewards = [entry["reward"] for entry in trainer.state.log_history if "reward" in entry]
    print(f"Reward: {rewards[0]:.2f} to {rewards[-1]:.2f}, from {noise.estimate().updates} measured steps")


if __name__ == "__main__":
    main()
