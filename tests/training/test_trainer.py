"""Training a tiny model: what moves, what is logged, and what must not change the result."""

import math
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import ClapModel, EarlyStoppingCallback, TrainerCallback

from support.tiny import ALL_VIEWS, STAGE_A, STAGE_B, assert_equal, config, groups, tiny_clap, trainer, weights
from teminal_hf.training import estimate
from teminal_hf.training.losses import symmetric_infonce, temporal_contrastive_loss

WEIGHTS = {"alpha_same_time": 3.0, "alpha_cross_time": 0.5, "alpha_same_overlap": 2.0, "alpha_cross_overlap": 0.7}


class Tracker(TrainerCallback):
    """Notes what a tracker is given, when it is given it."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **kwargs: Any) -> None:
        self.rows.append((state.global_step, dict(logs)))


class Gradients(TrainerCallback):
    """Notes every step's gradients."""

    def __init__(self) -> None:
        self.steps: list[dict[str, Tensor]] = []

    def on_pre_optimizer_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        named = kwargs["model"].named_parameters()
        self.steps.append({name: p.grad.clone() for name, p in named if p.grad is not None})


@pytest.mark.parametrize(
    "views, parts",
    [
        (STAGE_B, {"forward", "reversed", "overlay"}),
        (STAGE_B[:2], {"forward", "reversed"}),
        (STAGE_A, {"audio_to_text", "text_to_audio"}),
        (ALL_VIEWS, {"forward", "reversed", "overlay", "rehearsal"}),
        (("forward",), {"forward"}),
    ],
)
def test_training_moves_what_is_trained_and_nothing_else(tmp_path: Path, views: Any, parts: set[str]) -> None:
    t = trainer(tmp_path, 7, views=list(views), dropout=0.1, num_train_epochs=2, max_steps=-1)  # last batch: 3 groups
    before = weights(t.model)
    t.train()
    after, names = weights(t.model), {name for name, p in t.model.named_parameters() if p.requires_grad}
    for name in names:
        if "key.bias" not in name:  # their true gradient is zero
            assert not torch.equal(before[name], after[name]), f"{name} did not move"
    for name in before.keys() - names - {"logit_scale_t"}:
        assert torch.equal(before[name], after[name]), f"{name} moved"
    assert torch.equal(after["logit_scale_t"], after["logit_scale_a"])
    logged = [row for row in t.state.log_history if "loss" in row]
    assert len(logged) == t.state.global_step == 4
    for row in logged:
        assert row["loss"] > 0 and row["grad_norm"] > 0
        assert {k.removeprefix("loss_") for k in row if k.startswith("loss_")} == parts


# peft 0.21 asks transformers 5.23 for a name that it has deprecated; older ones do not.
@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
def test_lora_moves_adapters_alone(tmp_path: Path) -> None:
    t = trainer(tmp_path, tuning="lora", eval_dataset=groups(4), eval_strategy="steps", eval_steps=3)
    before = weights(t.model)
    t.train()
    moved = {name for name, value in weights(t.model).items() if not torch.equal(value, before[name])}
    assert all(".lora_" in name or name.endswith("logit_scale_t") for name in moved)
    # B of every adapter moves from the first step, A as soon as B is not zero
    assert {n for n in before if ".lora_" in n and "key" not in n} <= moved
    assert any("eval_loss" in row for row in t.state.log_history)


def test_logged_loss_is_the_weighted_loss_of_the_batch(tmp_path: Path) -> None:
    options = WEIGHTS | {"beta": 0.3, "rehearsal": 0.4}
    t = trainer(tmp_path, 4, views=ALL_VIEWS, max_steps=1, **options)
    batch = t.data_collator(t.train_dataset)
    with torch.no_grad():
        out = t.model(**{k: v for k, v in batch.items() if k != "meanings"})
    t.train()
    audio, text = (dict(zip(ALL_VIEWS, e.chunk(4), strict=True)) for e in (out.audio_embeds, out.text_embeds))
    means = batch["meanings"][:, 0]
    equal = means[:, None] == means[None]  # no doubles here: equal meanings are all there is to mask
    scale = math.exp(tiny_clap().logit_scale_a.item())
    temporal = temporal_contrastive_loss(
        {v: audio[v] for v in STAGE_B},
        {v: text[v] for v in STAGE_B},
        scale,
        **WEIGHTS,
        beta=0.3,
        false_negatives=equal[:12, :12],
    )
    single = symmetric_infonce(audio["single"], text["single"], scale, false_negatives=equal[12:, 12:])["loss"]
    row = t.state.log_history[0]
    assert row["loss"] == pytest.approx((temporal["loss"] + 0.4 * single).item(), rel=1e-4)
    assert row["loss_rehearsal"] == pytest.approx(single.item(), rel=1e-4)
    assert row["loss_reversed"] == pytest.approx(temporal["reversed"].item(), rel=1e-4)


def test_the_loss_does_not_depend_on_the_order_of_groups(tmp_path: Path) -> None:
    t = trainer(tmp_path, views=ALL_VIEWS, **WEIGHTS)
    rows = groups(6, ALL_VIEWS)
    with torch.no_grad():
        one, other = (
            t.compute_loss(t.model, t.data_collator(order)).item()
            for order in (rows, [rows[i] for i in (3, 0, 5, 1, 4, 2)])
        )
    assert one == pytest.approx(other, abs=1e-5)


def test_scale_is_clamped_at_100(tmp_path: Path) -> None:
    t = trainer(tmp_path, max_steps=1, learning_rate=0.1)
    t.model.logit_scale_a.data.fill_(math.log(100) + 0.5)
    t.train()
    assert t.model.logit_scale_a.item() == pytest.approx(math.log(100), abs=1e-6)
    assert torch.equal(t.model.logit_scale_t, t.model.logit_scale_a)


@pytest.mark.parametrize("views", [ALL_VIEWS, list(STAGE_A)])
def test_accumulated_gradient_is_the_mean_of_the_micro_batches(tmp_path: Path, views: list[str]) -> None:
    noted = Gradients()
    t = trainer(
        tmp_path, 8, views=views, max_steps=1, gradient_accumulation_steps=2, max_grad_norm=0.0, callbacks=[noted],
        train_sampling_strategy="sequential",
    )  # fmt: skip
    truth: dict[str, Tensor] = {}
    for start in (0, 4):
        t.model.zero_grad()
        t.compute_loss(t.model, t.data_collator(t.train_dataset[start : start + 4])).backward()
        for name, p in t.model.named_parameters():
            if p.grad is not None:
                truth[name] = truth.get(name, 0) + p.grad / 2
    t.model.zero_grad()
    t.train()
    assert noted.steps[0].keys() == truth.keys()
    for name, gradient in noted.steps[0].items():
        torch.testing.assert_close(gradient, truth[name], atol=1e-5, rtol=1e-4, msg=name)


def test_zste_is_logged_with_eval_loss_and_chooses_the_checkpoint(tmp_path: Path) -> None:
    seen: list[dict[str, Tensor]] = []
    figures = iter([0.2, 0.9, 0.8, 0.7])

    def zste(model: nn.Module) -> dict[str, float]:
        assert isinstance(model, ClapModel) and not model.training
        seen.append(weights(model))
        return {"3O": next(figures), "1": 0.5}

    t = trainer(
        tmp_path, max_steps=6, eval_dataset=groups(5, seed=3), zste=zste, eval_strategy="steps", eval_steps=1,
        save_strategy="steps", save_steps=1, load_best_model_at_end=True, metric_for_best_model="eval_zste_3O",
        greater_is_better=True, callbacks=[EarlyStoppingCallback(2)],
    )  # fmt: skip
    t.train()
    rows = [row for row in t.state.log_history if "eval_zste_3O" in row]
    assert [row["eval_zste_3O"] for row in rows] == [0.2, 0.9, 0.8, 0.7]  # then stopped: two in a row no better
    assert all(row["eval_loss"] > 0 and row["eval_zste_1"] == 0.5 for row in rows)
    assert t.state.best_model_checkpoint is not None and t.state.best_model_checkpoint.endswith("checkpoint-2")
    assert_equal(weights(t.model), seen[1])
    saved = tmp_path / "checkpoint-2"
    assert (saved / "model.safetensors").is_file() and not list(saved.glob("pytorch_model*"))
    assert_equal(weights(ClapModel.from_pretrained(saved, use_safetensors=True)), seen[1])


def test_trackers_are_given_zste_at_every_evaluation_and_the_parts_of_the_loss(tmp_path: Path) -> None:
    figures, tracker = iter(range(4)), Tracker()
    t = trainer(
        tmp_path, max_steps=4, eval_dataset=groups(5, seed=3), zste=lambda _: {"3O": float(next(figures)), "1": 0.5},
        eval_strategy="steps", eval_steps=2, logging_steps=1, eval_on_start=True, callbacks=[tracker],
    )  # fmt: skip
    t.train()
    t.evaluate()
    evaluated = [(step, row) for step, row in tracker.rows if "eval_loss" in row]
    assert [(step, row["eval_zste_3O"], row["eval_zste_1"]) for step, row in evaluated] == [
        (0, 0.0, 0.5), (2, 1.0, 0.5), (4, 2.0, 0.5), (4, 3.0, 0.5)
    ]  # fmt: skip
    assert all(type(value) in (int, float) for _, row in evaluated for value in row.values())  # others are dropped
    steps = [row for _, row in tracker.rows if "loss" in row]
    assert len(steps) == 4 and all({"loss_forward", "loss_reversed", "loss_overlay"} <= row.keys() for row in steps)


def test_two_runs_are_bit_equal_and_another_seed_is_not(tmp_path: Path) -> None:
    runs = []
    for seed in (1, 1, 2):
        t = trainer(tmp_path, dropout=0.2, seed=seed)
        t.train()
        runs.append(weights(t.model))
    assert_equal(runs[0], runs[1])
    assert any(not torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


def test_resuming_gives_the_uninterrupted_run(tmp_path: Path) -> None:
    options: dict[str, Any] = {"dropout": 0.2, "max_steps": 5, "views": ALL_VIEWS, "plain_share": 0.7}
    whole = trainer(tmp_path / "whole", 10, **options)
    whole.train()
    first = trainer(tmp_path / "cut", 10, save_strategy="steps", save_steps=2, **options)
    first.train()
    second = trainer(tmp_path / "cut", 10, **options)
    second.train(resume_from_checkpoint=str(tmp_path / "cut" / "checkpoint-2"))
    assert second.state.global_step == 5
    assert_equal(weights(second.model), weights(whole.model))


class Drawing(list[Any]):
    """Rows that note what is drawn."""

    def draw_captions(self, seed: int, epoch: int) -> bool:
        self.drawn = [*getattr(self, "drawn", []), (seed, epoch)]
        return True


def test_captions_are_drawn_in_each_epoch_and_the_same_after_a_resumption(tmp_path: Path) -> None:
    rows = Drawing(groups(8))  # two steps an epoch
    trainer(tmp_path, train_dataset=rows, max_steps=5, save_strategy="steps", save_steps=1, seed=3).train()
    assert rows.drawn == [(3, 0), (3, 0), (3, 1), (3, 2)]  # the first before any epoch: is there any to choose?
    for step, epochs in ((2, [1, 2]), (3, [1, 2]), (4, [2])):
        again = Drawing(groups(8))
        resumed = trainer(tmp_path, train_dataset=again, max_steps=5, seed=3)
        resumed.train(resume_from_checkpoint=str(tmp_path / f"checkpoint-{step}"))
        assert again.drawn[1:] == [(3, epoch) for epoch in epochs]
    with pytest.raises(ValueError, match="dataloader_persistent_workers would say the captions of the first epoch"):
        trainer(tmp_path, train_dataset=again, dataloader_num_workers=1, dataloader_persistent_workers=True)


def test_it_says_what_is_trained_and_then_how_long_the_rest_will_take(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = iter([*range(100, 109), *(130 + 2 * i for i in range(40))])  # 9 slow first steps, then two seconds each
    monkeypatch.setattr(estimate, "WARM_UP", 10)
    monkeypatch.setattr(estimate, "time", SimpleNamespace(perf_counter=lambda: float(next(clock))))
    t = trainer(tmp_path, 10, num_train_epochs=10, max_steps=-1, views=ALL_VIEWS)
    t.train()
    what, _, long = (record.getMessage() for record in caplog.records if record.name == estimate.__name__)
    assert what == "training 6,723 of 15,336 parameters (43.8%) on 10 groups, 4 a step, 30 steps"
    assert re.fullmatch(r"2\.00 s a step, 18 s for the 9 left, \d+\.\d GiB", long)
    assert all("loss_forward" in row for row in t.state.log_history if "loss" in row)


@pytest.mark.parametrize(
    "options, max_steps, warning",
    [
        ({"plain_share": 0.5}, 562, ""),
        ({"plain_share": 0.35}, 1000, ""),
        ({"plain_share": 0.35}, 456, '160 of 456 steps say order one way only ("X before Y")'),
        ({"plain_share": 1.0}, 400, "400 of 400 steps"),
        ({"plain_share": 0.0}, 5000, "plain_share is 0, so that order is said in several ways in each of the 5000"),
        ({"views": ["single", "double"]}, 2, ""),
        ({"views": ["forward"]}, 2, ""),
    ],
)
def test_a_schedule_too_short_for_order_is_said(
    tmp_path: Path, options: dict[str, Any], max_steps: int, warning: str
) -> None:
    message = estimate.too_short(config(tmp_path, **options), max_steps)
    assert (warning in message) if warning else message == ""


def test_the_warning_comes_before_the_first_step(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    trainer(tmp_path, plain_share=0.5).train()
    messages = [record.getMessage() for record in caplog.records if record.name == estimate.__name__]
    assert len(messages) == 2 and "probably too short to learn order: 2 of 3 steps" in messages[1]


def test_the_steps_that_are_said_are_those_that_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    t = trainer(tmp_path, 11, num_train_epochs=2, max_steps=-1, gradient_accumulation_steps=2)
    t.train()
    assert t.state.global_step == 4 and "on 11 groups, 8 a step, 4 steps" in caplog.text


def test_a_stream_of_groups_trains(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Stream(torch.utils.data.IterableDataset[dict[str, Any]]):
        def __iter__(self) -> Iterator[dict[str, Any]]:
            return iter(groups(9))

    t = trainer(tmp_path, train_dataset=Stream())
    t.train()
    assert t.state.global_step == 3 and "on a stream of groups, 4 a step, 3 steps" in caplog.text


def test_bfloat16_autocast_gives_a_finite_loss(tmp_path: Path) -> None:
    t = trainer(tmp_path, max_steps=1, bf16=True, eval_dataset=groups(4), eval_strategy="steps", eval_steps=1)
    t.train()
    exact = trainer(tmp_path, max_steps=1)
    exact.train()
    row, truth = t.state.log_history[0], exact.state.log_history[0]
    assert row["loss"] == pytest.approx(truth["loss"], rel=0.1) and row["loss"] != truth["loss"]
    assert {p.dtype for p in t.model.parameters()} == {torch.float32}
