"""TeminAL for Hugging Face: post-train a CLAP model to hear before, after and while.

Importing this package lets `datasets.load_dataset("teminal/esc50-temporal")` and `evaluate.load("zste")` work offline.
"""

from teminal_hf.collator import GroupCollator
from teminal_hf.evaluation import Ranking, ZsteEvaluator, ZsteReport, rank
from teminal_hf.features import LogMel
from teminal_hf.hooks import install_builder, install_metric
from teminal_hf.losses import symmetric_infonce, temporal_contrastive_loss
from teminal_hf.models import load_clap, save_clap
from teminal_hf.pairs import Renderer, RenderSettings
from teminal_hf.rendering import render
from teminal_hf.sources import ClipTable, load_clips
from teminal_hf.stages import StagePolicy, apply_stage
from teminal_hf.trainer import TeminalTrainer
from teminal_hf.training_config import TeminalConfig

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
