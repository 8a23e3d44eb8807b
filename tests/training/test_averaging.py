"""The average of the weights, against the recursion written out."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import TrainerCallback

from support.tiny import assert_equal, trainer, weights

DECAY = 0.6


class Steps(TrainerCallback):
    """Notes the trained weights at the start and after every step."""

    def __init__(self) -> None:
        self.seen: list[dict[str, Tensor]] = []

    def _note(self, model: Any) -> None:
        self.seen.append({n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad})

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._note(kwargs["model"])

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._note(kwargs["model"])


def test_what_is_left_is_the_average(tmp_path: Path) -> None:
    steps = Steps()
    t = trainer(tmp_path, average=DECAY, max_steps=12)
    t.add_callback(steps)
    t.train()
    start, *after = steps.seen
    assert len(after) == 12
    for name, value in start.items():
        average = value.double()
        for number, seen in enumerate(after, start=1):
            decay = min(DECAY, number / (number + 9))
            average = decay * average + (1 - decay) * seen[name].double()
        torch.testing.assert_close(t.model.get_parameter(name).double(), average, atol=1e-6, rtol=1e-5)
        assert not torch.equal(t.model.get_parameter(name), after[-1][name]) or "key.bias" in name


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # peft 0.21 under transformers 5.23
@pytest.mark.filterwarnings("ignore:Could not find a config file:UserWarning")  # peft 0.18, of a model with no name
@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_resumed_run_has_the_same_average(tmp_path: Path, tuning: str) -> None:
    options: dict[str, Any] = {
        "average": 0.9,
        "max_steps": 6,
        "save_strategy": "steps",
        "save_steps": 3,
        "tuning": tuning,
    }
    whole = trainer(tmp_path / "whole", **options)
    whole.train()
    again = trainer(tmp_path / "again", **options)
    again.train(resume_from_checkpoint=str(tmp_path / "whole" / "checkpoint-3"))
    assert_equal(weights(again.model), weights(whole.model))


def test_without_it_the_last_weights_stay(tmp_path: Path) -> None:
    steps = Steps()
    t = trainer(tmp_path)
    t.add_callback(steps)
    t.train()
    assert_equal({n: p.detach() for n, p in t.model.named_parameters() if p.requires_grad}, steps.seen[-1])
    assert not list(tmp_path.rglob("average.safetensors"))
