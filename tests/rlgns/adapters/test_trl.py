"""GRPO's mixin: both noise levels of a slow twin, training bit for bit the same, one clear error."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("trl", reason="needs TRL")

from datasets import Dataset
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from trl import GRPOConfig, GRPOTrainer

from rlgns.adapters.prompts import PromptNoiseScale
from rlgns.adapters.transformers import STATE_FILE
from rlgns.adapters.trl import GRPONoiseScaleMixin, NoiseScaleGRPOTrainer
from rlgns.noise.nested import NestedMoments
from tests.rlgns.noise.test_nested import slow_nested

WORDS = ["<pad>", "<eos>", "<bos>", *map(str, range(10)), "plus", "is"]
COMPLETIONS, LONGEST = 4, 3


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """The networks are tiny."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def tokenizer() -> PreTrainedTokenizerFast:
    found = Tokenizer(models.WordLevel({word: code for code, word in enumerate(WORDS)}, unk_token="<pad>"))
    found.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=found, pad_token="<pad>", eos_token="<eos>", bos_token="<bos>", padding_side="left"
    )


def model() -> LlamaForCausalLM:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        attention_dropout=0.0,
        pad_token_id=0,
        eos_token_id=1,
        bos_token_id=2,
        max_position_embeddings=16,
    )
    return LlamaForCausalLM(config)


def sums() -> Dataset:
    rows = [{"prompt": f"{a} plus {b} is", "answer": a + b} for a in range(5) for b in range(5)]
    return Dataset.from_list(rows)


def reward(prompts: list[str], completions: list[str], answer: list[int], **more: Any) -> list[float]:
    """More for longer answers whose words are near the right one: completions of one prompt differ."""
    found = []
    for text, right in zip(completions, answer, strict=True):
        numbers = [int(word) for word in text.split() if word.isdigit()]
        found.append(0.3 * len(numbers) - sum(abs(number - right) for number in numbers) / 10)
    return found


class Measured(NoiseScaleGRPOTrainer):
    noise_scale_overhead = 0.999
    noise_scale_verbose = False


class Recorded(Measured):
    """Keeps the newest measured generation and the parameters at that time."""

    def _measure(self, output: Any) -> None:
        self.seen = dict(output), {name: value.clone() for name, value in self.model.state_dict().items()}
        super()._measure(output)


def build(kind: Any, folder: Path, **more: Any) -> Any:
    settings = {
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 2,
        "num_generations": COMPLETIONS,
        "max_completion_length": LONGEST,
        "max_steps": 4,
        "logging_steps": 1,
        "learning_rate": 1e-2,
        "lr_scheduler_type": "constant",
        "report_to": [],
        "use_cpu": True,
        "bf16": False,
        "disable_tqdm": True,
        "save_strategy": "no",
        **more,
    }
    arguments = GRPOConfig(str(folder), **settings)
    return kind(model(), reward_funcs=reward, args=arguments, train_dataset=sums(), processing_class=tokenizer())


@pytest.mark.parametrize(
    "more", [{"loss_type": "dapo", "num_iterations": 2}, {"loss_type": "bnpo", "steps_per_generation": 4}]
)
def test_training_is_bit_for_bit_the_same(tmp_path: Path, more: dict[str, Any]) -> None:
    states = []
    for kind in (GRPOTrainer, Measured):
        trainer = build(kind, tmp_path, max_steps=8, **more)
        trainer.train()
        draws = (torch.rand(1).item(), float(np.random.random()))
        host = [
            {k: v for k, v in entry.items() if k in ("loss", "reward", "entropy")}
            for entry in trainer.state.log_history
        ]
        states.append((trainer.model.state_dict(), draws, host))
    assert trainer.noise_scale.estimate().updates >= 1
    (plain, draws, host), (ours, our_draws, our_host) = states
    assert draws == our_draws and host == our_host
    assert all(torch.equal(plain[name], ours[name]) for name in plain)


def completion_gradients(output: dict[str, Any], state: dict[str, torch.Tensor], loss_type: str) -> np.ndarray:
    """[prompts, completions, parameters] float64: each completion's loss by hand, before the first step on it."""
    twin = model()
    twin.load_state_dict(state)
    parameters, found = list(twin.parameters()), []
    mean_length = float(output["completion_mask"].sum()) / len(output["completion_mask"])
    for row in range(len(output["completion_ids"])):
        prompt = output["prompt_ids"][row][output["prompt_mask"][row].bool()]
        mask = output["completion_mask"][row].bool()
        words = output["completion_ids"][row][mask]
        logits = twin(input_ids=torch.cat([prompt, words])[None]).logits[0]
        chosen = torch.log_softmax(logits[len(prompt) - 1 : -1], -1).gather(1, words[:, None])
        length = {"grpo": len(words), "dr_grpo": LONGEST}.get(loss_type, mean_length)
        loss = -output["advantages"][row] * chosen.sum() / length
        gradients = torch.autograd.grad(loss, parameters)
        found.append(torch.cat([g.flatten() for g in gradients]).double().numpy())
    return np.stack(found).reshape(-1, COMPLETIONS, found[0].size)


@pytest.mark.parametrize("loss_type", ["grpo", "dapo", "dr_grpo", "bnpo"])
def test_both_levels_are_those_of_a_twin_that_holds_every_completions_gradient(tmp_path: Path, loss_type: str) -> None:
    trainer = build(Recorded, tmp_path, loss_type=loss_type, max_steps=3)
    trainer.train()
    output, state = trainer.seen
    assert output["advantages"].abs().max() > 0.1
    gradients = completion_gradients(output, state, loss_type)
    assert gradients.shape[0] == 4
    grad_sq, between, within = slow_nested(gradients, COMPLETIONS // 2)
    row = trainer.noise_scale.row()
    trace = COMPLETIONS * between + within
    assert row["noise/at_rollout/trace"] == pytest.approx(trace, rel=1e-4)
    assert row["noise/at_rollout/grad_sq"] == pytest.approx(grad_sq, rel=1e-4, abs=1e-6 * trace)
    assert row["batch_observations"] == 16 and row["observations"] == 48


def test_a_micro_batch_mixes_prompts(tmp_path: Path) -> None:
    """The trap: TRL shuffles completions before it splits them, so that micro-batches are no groups."""
    trainer = build(GRPOTrainer, tmp_path, max_steps=1)
    trainer.train()
    for batch in trainer._buffered_inputs:
        prompts = {tuple(prompt.tolist()) for prompt in batch["prompt_ids"]}
        assert len(prompts) > len(batch["prompt_ids"]) / COMPLETIONS


def test_results_are_logged_with_the_loss_and_restored(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Speaking(Measured):
        noise_scale_verbose = True

    trainer = build(Speaking, tmp_path, save_strategy="steps", save_steps=4)
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    assert "noise/at_rollout/trace" not in logs[0] and "noise/at_rollout/trace" in logs[-1]
    assert 0 < logs[-1]["noise/overhead_fraction"] < 1
    assert "more prompts are never worse" in capsys.readouterr().out
    saved = json.loads((tmp_path / "checkpoint-4" / STATE_FILE).read_text())
    again = build(Measured, tmp_path, max_steps=5)
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-4"))
    assert saved["completions"] == 64 and again._noise_completions == 80
    assert again.noise_scale.estimate().updates >= trainer.noise_scale.estimate().updates >= 1


def known(between: float, within: float, draws: int = 400) -> PromptNoiseScale:
    """After many measurements of the same numbers with a little scatter."""
    noise, generator = PromptNoiseScale(per_prompt=8), np.random.default_rng(3)
    for _ in range(draws):
        scatter = 1 + 0.1 * generator.normal(size=3)
        nested = NestedMoments(
            grad_sq=0.5 * scatter[0],
            between=between * scatter[1],
            within=within * scatter[2],
            per_cluster=8,
            clusters=16,
            groups=8,
        )
        noise.update(nested, batch_observations=128, learning_rate=1e-3, observations=128)
    return noise


@pytest.mark.parametrize(
    ("between", "within", "words"),
    [
        (4.0, 8.0, "leave 0.50 of the noise, twice the 8 completions of each 0.90 (0.90 to 0.90): take more prompts"),
        (
            1.0,
            24.0,
            "twice the 8 completions of each 0.63 (0.62 to 0.63): both help, since most of the noise is within",
        ),
    ],
)
def test_advice_for_prompts_and_completions(between: float, within: float, words: str) -> None:
    noise = known(between, within)
    assert words in noise.advice() and noise.advice() in noise.sentence()
    row = noise.row()
    assert row["noise/prompts/now"] == pytest.approx(2 * between, rel=0.05)
    assert row["noise/prompts/now_low"] < 2 * between < row["noise/prompts/now_high"]
    assert row["noise/completions/now"] == pytest.approx(2 * within, rel=0.05)
    assert row["noise/at_rollout/now"] == pytest.approx(2 * (8 * between + within), rel=0.05)
    effect = (8 * between + within) / (between + within)
    assert row["noise/design_effect"] == pytest.approx(effect, rel=0.02)
    assert set(noise.entries()) > {"noise/twice_completions_noise_low", "noise/run_average"}
    restored = PromptNoiseScale(per_prompt=8)
    restored.load_state_dict(json.loads(json.dumps(noise.state_dict())))
    assert restored.row() == pytest.approx(row, nan_ok=True)


def test_nan_is_skipped_at_both_levels() -> None:
    noise = known(4.0, 8.0, draws=20)
    updates = noise.estimate().updates
    bad = NestedMoments(grad_sq=math.nan, between=math.nan, within=math.nan, per_cluster=8, clusters=16, groups=8)
    noise.update(bad, batch_observations=128, learning_rate=1e-3, observations=128)
    assert noise.estimate().updates == updates and noise.estimate().skipped == 1
    assert math.isfinite(noise.level("prompts").noise_scale)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (
            {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
            "has one prompt, and the noise scale needs 2",
        ),
        ({"entropy_coef": 0.1}, "has an entropy bonus or a router's loss"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_training(tmp_path: Path, more: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        build(Measured, tmp_path, **more)


def test_a_host_without_the_hook_is_refused() -> None:
    class OldTrainer:
        pass

    class Mine(GRPONoiseScaleMixin, OldTrainer):
        pass

    with pytest.raises(ValueError, match=r"has no _generate_and_score_completions: write `class Mine"):
        Mine()
