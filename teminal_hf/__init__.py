"""TeminAL for Hugging Face: post-train a CLAP model to hear before, after and while.

Importing this package lets `datasets.load_dataset("teminal/esc50-temporal")` and `evaluate.load("zste")` work offline
(see `register`; `TEMINAL_NO_HOOKS=1` leaves both libraries as they are). Its names are imported when first used.
"""

import importlib
import os
from typing import TYPE_CHECKING, Any

from teminal_hf.integrations.load_by_name import register

if TYPE_CHECKING:
    from teminal_hf.audio.log_mel import LogMel
    from teminal_hf.clips.sources import ClipSource, load_clips
    from teminal_hf.clips.table import ClipTable
    from teminal_hf.data.groups import GroupDataset, plan
    from teminal_hf.data.manifest_audio import render
    from teminal_hf.data.rendering import Renderer, RenderSettings
    from teminal_hf.errors import TeminalError
    from teminal_hf.evaluation.evaluator import ZsteEvaluator, ZsteReport
    from teminal_hf.evaluation.known import KnownSounds
    from teminal_hf.evaluation.ranking import Ranking, Windows, none_of_these, rank, when
    from teminal_hf.integrations.batch_embedder import BatchEmbedder
    from teminal_hf.integrations.encoders import as_encoder, load_encoder
    from teminal_hf.integrations.foreign_encoders import FunctionEncoder, OpenClipEncoder
    from teminal_hf.models.checkpoint import load_clap, save_checkpoint
    from teminal_hf.models.embed import ClapEncoder, embed_audio, embed_text
    from teminal_hf.models.encoder import Encoder
    from teminal_hf.models.stages import StagePolicy, apply_stage
    from teminal_hf.training.config import TeminalConfig
    from teminal_hf.training.data_collator import GroupCollator
    from teminal_hf.training.losses import symmetric_infonce, temporal_contrastive_loss
    from teminal_hf.training.trainer import TeminalTrainer

__version__ = "0.1.0"

__all__ = [
    "BatchEmbedder",
    "ClapEncoder",
    "ClipSource",
    "ClipTable",
    "Encoder",
    "FunctionEncoder",
    "GroupCollator",
    "GroupDataset",
    "KnownSounds",
    "LogMel",
    "OpenClipEncoder",
    "Ranking",
    "RenderSettings",
    "Renderer",
    "StagePolicy",
    "TeminalConfig",
    "TeminalError",
    "TeminalTrainer",
    "Windows",
    "ZsteEvaluator",
    "ZsteReport",
    "apply_stage",
    "as_encoder",
    "embed_audio",
    "embed_text",
    "load_checkpoint",
    "load_clap",
    "load_clips",
    "load_encoder",
    "none_of_these",
    "plan",
    "rank",
    "register",
    "render",
    "save_checkpoint",
    "symmetric_infonce",
    "temporal_contrastive_loss",
    "when",
]

_MODULES = {
    "audio.log_mel": ("LogMel",),
    "clips.sources": ("ClipSource", "load_clips"),
    "clips.table": ("ClipTable",),
    "data.groups": ("GroupDataset", "plan"),
    "data.manifest_audio": ("render",),
    "data.rendering": ("RenderSettings", "Renderer"),
    "errors": ("TeminalError",),
    "evaluation.evaluator": ("ZsteEvaluator", "ZsteReport"),
    "evaluation.known": ("KnownSounds",),
    "evaluation.ranking": ("Ranking", "Windows", "none_of_these", "rank", "when"),
    "integrations.batch_embedder": ("BatchEmbedder",),
    "integrations.encoders": ("as_encoder", "load_encoder"),
    "integrations.foreign_encoders": ("FunctionEncoder", "OpenClipEncoder"),
    "models.checkpoint": ("load_checkpoint", "load_clap", "save_checkpoint"),
    "models.embed": ("ClapEncoder", "embed_audio", "embed_text"),
    "models.encoder": ("Encoder",),
    "models.stages": ("StagePolicy", "apply_stage"),
    "training.config": ("TeminalConfig",),
    "training.data_collator": ("GroupCollator",),
    "training.losses": ("symmetric_infonce", "temporal_contrastive_loss"),
    "training.trainer": ("TeminalTrainer",),
}
_HOMES = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


if os.environ.get("TEMINAL_NO_HOOKS") != "1":
    register()
