"""What a stage trains: the last blocks and layers of a `ClapModel`, found by structure, for any size of it."""

from dataclasses import dataclass
from typing import Any, Literal

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import ClapModel

from teminal_hf.errors import ConfigError
from teminal_hf.models.split import SplitPoint, attach_split_forward, audio_blocks, unwrap_clap


@dataclass(frozen=True)
class StagePolicy:
    """Names what is trained; everything else is frozen.

    The default is the last audio block, the last text layer, both projections and the logit scale: 10.1 % of
    laion/clap-htsat-unfused.

    Args:
        audio_blocks: Swin blocks trained, counted from the end over stages (the final norm goes with them, and the
            downsampling between two trained stages).
        text_layers: transformer layers trained, counted from the end.
        text_pooler: train the dense layer on the first token as well.
        projections: train both projections.
        tuning: "full", or "lora" for low-rank adapters (peft) on the linear layers of the same modules.
        lora_rank: rank of the adapters.
    """

    audio_blocks: int = 1
    text_layers: int = 1
    text_pooler: bool = False
    projections: bool = True
    tuning: Literal["full", "lora"] = "full"
    lora_rank: int = 16

    @property
    def split_point(self) -> SplitPoint:
        return SplitPoint(self.audio_blocks, self.text_layers)


@dataclass(frozen=True)
class Trainable:
    """How much of a model is trained: parameter counts and the names of the trained tensors."""

    count: int
    total: int
    names: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.count / self.total

    @classmethod
    def of(cls, model: nn.Module) -> "Trainable":
        """Read off a model; adapters are not part of its total."""
        trained = {name: p.numel() for name, p in model.named_parameters() if p.requires_grad}
        total = sum(p.numel() for name, p in model.named_parameters() if ".lora_" not in name)
        return cls(sum(trained.values()), total, tuple(trained))

    def __str__(self) -> str:
        return f"{self.count:,} of {self.total:,} parameters ({self.share:.1%})"


def apply_stage(model: ClapModel, policy: StagePolicy) -> tuple[ClapModel | PeftModel, Trainable]:
    """Freeze `model`, unfreeze (or give adapters to) what `policy` names, and attach the split forward.

    Returns:
        The model to train (a `PeftModel` for `tuning="lora"`) and what is trained in it.

    Raises:
        ConfigError: more blocks or layers than the model has, or a fused checkpoint.
    """
    unwrap_clap(model)
    modules = _stage_modules(model, policy)
    model.requires_grad_(False)
    attach_split_forward(model, policy.split_point)
    tuned: ClapModel | PeftModel = model
    if policy.tuning == "lora":
        targets = [
            f"{prefix}.{name}" if name else prefix
            for prefix, module in modules.items()
            for name, child in module.named_modules()
            if isinstance(child, nn.Linear)
        ]
        config = LoraConfig(r=policy.lora_rank, lora_alpha=2 * policy.lora_rank, target_modules=targets)
        tuned = get_peft_model(model, config)
    else:
        for module in modules.values():
            module.requires_grad_(True)
        # Of ClapModel's two log-scales one is trained and the other copied from it: the loss has one temperature.
        model.logit_scale_a.requires_grad_(True)
    return tuned, Trainable.of(tuned)


def _stage_modules(model: ClapModel, policy: StagePolicy) -> dict[str, nn.Module]:
    encoder: Any = model.audio_model.audio_encoder
    text = model.text_model
    blocks, layers = audio_blocks(model), text.encoder.layer
    for name, wanted, present in (
        ("audio_blocks", policy.audio_blocks, len(blocks)),
        ("text_layers", policy.text_layers, len(layers)),
    ):
        if not 0 <= wanted <= present:
            raise ConfigError(f"{name}={wanted}, but this model has {present}; give 0 to {present}")
    chosen: list[nn.Module] = [block for _, block in blocks[len(blocks) - policy.audio_blocks :]]
    first = len(blocks) - policy.audio_blocks
    for index in range(first, len(blocks) - 1):
        if blocks[index + 1][0] != blocks[index][0]:
            chosen.append(encoder.layers[blocks[index][0]].downsample)
    if policy.audio_blocks:
        chosen.append(encoder.norm)
    chosen += list(layers[len(layers) - policy.text_layers :])
    if policy.text_pooler and text.pooler is not None:
        chosen.append(text.pooler)
    if policy.projections:
        chosen += [model.audio_projection, model.text_projection]
    wanted_ids = {id(module) for module in chosen}
    return {name: module for name, module in model.named_modules() if id(module) in wanted_ids}


def frozen_modules(model: nn.Module) -> list[nn.Module]:
    """Every module, at any depth, of those parts of `model` that hold parameters, none of them trained.

    They belong in eval mode whatever the model is in: else the running statistics of HTS-AT's frozen BatchNorm drift,
    and frozen layers drop activations. A module without parameters (dropout) keeps the mode of the layer it stands in.
    """
    if any(parameter.requires_grad for parameter in model.parameters()):
        return [module for child in model.children() for module in frozen_modules(child)]
    return list(model.modules()) if next(model.parameters(), None) is not None else []


def merged(model: ClapModel | PeftModel) -> ClapModel:
    """A plain `ClapModel`: adapters merged into the weights, the second log-scale a copy of the trained one."""
    plain = model.merge_and_unload() if isinstance(model, PeftModel) else model
    plain.logit_scale_t.data.copy_(plain.logit_scale_a.data)
    return plain
