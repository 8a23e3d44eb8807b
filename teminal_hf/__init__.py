"""TeminAL for Hugging Face: post-train a CLAP model to hear before, after and while.

Importing this package lets `datasets.load_dataset("teminal/esc50-temporal")` and `evaluate.load("zste")` work offline.
"""

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.clips.sources import ClipTable, load_clips
from teminal_hf.data.groups import Renderer, RenderSettings
from teminal_hf.data.manifest_audio import render
from teminal_hf.evaluation.evaluator import Ranking, ZsteEvaluator, ZsteReport, rank
from teminal_hf.integrations.load_by_name import install_builder, install_metric
from teminal_hf.models.checkpoint import load_clap, save_clap
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.training.config import TeminalConfig
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.losses import symmetric_infonce, temporal_contrastive_loss
from teminal_hf.training.trainer import TeminalTrainer

__version__ = "0.1.0"

__all__ = [
    "ClipTable",
    "GroupCollator",
    "LogMel",
    "Ranking",
    "RenderSettings",
    "Renderer",
    "StagePolicy",
    "TeminalConfig",
    "TeminalTrainer",
    "ZsteEvaluator",
    "ZsteReport",
    "apply_stage",
    "load_clap",
    "load_clips",
    "rank",
    "render",
    "save_clap",
    "symmetric_infonce",
    "temporal_contrastive_loss",
]

install_builder()
install_metric()
