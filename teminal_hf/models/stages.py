"""What a stage trains: the last blocks and layers of a model's towers, found by structure, for any size of it."""

from dataclasses import dataclass
from typing import Any, Literal

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn

from teminal_hf.errors import ConfigError
from teminal_hf.models.split import TrainedModel, attach_split_forward, towers_of
from teminal_hf.models.towers import SplitPoint, last_layers


@dataclass(frozen=True)
class StagePolicy:
    """Names what is trained; everything else is frozen.

    The default is the last audio block, the last text layer, both projections and the logit scale: 10.1 % of
    laion/clap-htsat-unfused.

    Args:
        audio_blocks: blocks trained, counted from the end; of CLAP's Swin over its stages (what stands between two of
            them, and the final norm, go with them).
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


def apply_stage(model: TrainedModel, policy: StagePolicy) -> tuple[TrainedModel | PeftModel, Trainable]:
    """Freeze `model`, unfreeze (or give adapters to) what `policy` names, and attach the split forward.

    Returns:
        The model to train (a `PeftModel` for `tuning="lora"`) and what is trained in it.

    Raises:
        ConfigError: more blocks or layers than the model has, or a fused checkpoint.
    """
    modules = _stage_modules(model, policy)
    model.requires_grad_(False)
    attach_split_forward(model, policy.split_point)
    tuned: TrainedModel | PeftModel = model
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
        if (log_scale := towers_of(model).log_scale) is not None:
            log_scale.requires_grad_(True)
    return tuned, Trainable.of(tuned)


def _stage_modules(model: TrainedModel, policy: StagePolicy) -> dict[str, nn.Module]:
    towers = towers_of(model)
    layers = ((towers.audio_layers, "audio_blocks"), (towers.text_layers, "text_layers"))
    chosen: list[nn.Module] = []
    for present, name in layers:
        wanted = getattr(policy, name)
        if not 0 <= wanted <= len(present):
            raise ConfigError(f"{name}={wanted}, but this model has {len(present)}; give 0 to {len(present)}")
        chosen += last_layers(present, wanted)
    chosen += towers.with_layers(policy.split_point)
    if policy.text_pooler and towers.text_pooler is not None:
        chosen.append(towers.text_pooler)
    if policy.projections:
        chosen += towers.projections
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


def merged(model: TrainedModel | PeftModel) -> TrainedModel:
    """The plain model: adapters merged into the weights, and settled."""
    plain: Any = model.merge_and_unload() if isinstance(model, PeftModel) else model
    towers_of(plain).settle()
    return plain
