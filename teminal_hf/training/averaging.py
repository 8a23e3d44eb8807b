"""The moving average of the weights over the steps: smoother than the last ones, and what is saved in the end."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import TrainerCallback

from teminal_hf.models.split import unwrap_model

FILE = "average.safetensors"  # of a checkpoint


class Averaging(TrainerCallback):
    """An exponential moving average of what is trained, put in its place when the training ends.

    Args:
        decay: of the average, in a step; in the first steps (1 + t) / (10 + t), where that is less. 0: no average.
    """

    def __init__(self, decay: float) -> None:
        self.decay = decay
        self._average: dict[str, Tensor] = {}

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        trained = _trained(kwargs["model"])
        if self.decay:  # what a checkpoint has brought stays
            self._average = {
                name: self._average.get(name, p).detach().clone().to(p.device) for name, p in trained.items()
            }

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.decay:
            weight = 1 - min(self.decay, state.global_step / (state.global_step + 9))
            with torch.no_grad():
                for name, parameter in _trained(kwargs["model"]).items():
                    self._average[name].lerp_(parameter, weight)

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if self.decay:
            with torch.no_grad():
                for name, parameter in _trained(kwargs["model"]).items():
                    parameter.copy_(self._average[name])

    def save(self, checkpoint: Path) -> None:
        if self.decay:
            save_file({name: tensor.contiguous() for name, tensor in self._average.items()}, checkpoint / FILE)

    def load(self, checkpoint: Path) -> None:
        """Of a checkpoint that `save` has written to."""
        if self.decay:
            self._average = load_file(checkpoint / FILE)


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in unwrap_model(model).named_parameters() if p.requires_grad}
