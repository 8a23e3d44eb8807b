"""A finished run for the page, without training."""

import json
from pathlib import Path

import torch

from teminal_hf.models.checkpoint import CLAP_MINI, load_clap, save_checkpoint


def write_opposite_run(folder: Path) -> Path:
    """`runs/demo-001/stage_b` in `folder`: clap-mini with its audio embeddings turned to their opposites, so that it
    ranks all captions the other way round."""
    model, processor = load_clap(CLAP_MINI)
    with torch.no_grad():
        model.audio_projection.linear2.weight.neg_()
        model.audio_projection.linear2.bias.neg_()
    run = folder / "runs" / "demo-001" / "stage_b"
    save_checkpoint(model, processor, run)
    (run / "run.json").write_text(json.dumps({"complete": True, "base": CLAP_MINI}))
    return run
