"""Real ESC-50 and a real base checkpoint, where they lie beside the project; else the skip says what is missing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from teminal_hf.audio.log_mel import LogMel
from teminal_hf.clips.sources import esc50_folder
from teminal_hf.data.groups import plan
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.views import STAGE_B_VIEWS
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.integrations.encoders import load_encoder
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.split import towers_of
from teminal_hf.models.towers import SplitPoint

SHARED = Path(__file__).parent.parent.parent / "shared"
ESC50, BASE = SHARED / "data" / "esc50", SHARED / "models" / "clap-esc50-base"

pytestmark = pytest.mark.skipif(
    not (ESC50.is_dir() and BASE.is_dir()), reason="no real ESC-50 and base checkpoint beside the project"
)


@pytest.fixture(scope="module")
def clips():
    return esc50_folder(ESC50)


def test_the_table_is_esc50s(clips) -> None:
    assert len(clips) == 1600 and len(clips.classes) == 50
    assert {fold: clips.folds.count(fold) for fold in (1, 2, 3, 4)} == dict.fromkeys((1, 2, 3, 4), 400)
    recordings = {fold: {i.split("-")[1] for i in clips.in_folds([fold]).ids} for fold in (1, 2, 3, 4)}
    shared = {(a, b): recordings[a] & recordings[b] for a in recordings for b in recordings if a < b}
    # ESC-50's folds are disjoint in their source recordings but for two, whose clips are of different classes.
    assert {pair: found for pair, found in shared.items() if found} == {(2, 3): {"131943", "134049"}}


def test_real_groups_share_level_and_length_and_are_never_cropped(clips) -> None:
    renderer = Renderer(clips, RenderSettings())
    for row in plan("stage_b", clips, 12, seed=0):
        views = renderer.views(row["clip_a"], row["clip_b"], row["seed"], row["group_id"])
        level = [np.sqrt(np.mean(np.square(view, dtype=np.float64))) for view in views.values()]
        np.testing.assert_allclose(level, level[0], rtol=1e-4)
        assert {view.shape for view in views.values()} == {(480_000,)}
        assert max(np.abs(view).max() for view in views.values()) <= 1


def test_features_and_split_on_the_real_base(clips) -> None:
    model, processor = load_clap(str(BASE))
    renderer = Renderer(clips, RenderSettings())
    row = next(iter(plan("stage_b", clips, 1, seed=1)))
    views = renderer.views(row["clip_a"], row["clip_b"], 1, 0, STAGE_B_VIEWS)
    sounds = [views[view] for view in STAGE_B_VIEWS]
    extractor = processor.feature_extractor
    truth = extractor(sounds, sampling_rate=48_000, padding="pad", return_tensors="pt")["input_features"].float()
    features = LogMel.from_extractor(extractor)(torch.from_numpy(np.stack(sounds)))
    torch.testing.assert_close(features, truth, atol=1e-3, rtol=0)
    with torch.inference_mode():
        whole = model.get_audio_features(input_features=features).pooler_output
        split_point = SplitPoint(1, 1)
        split = towers_of(model).audio_suffix(split_point, towers_of(model).audio_prefix(split_point, features))
    torch.testing.assert_close(split, whole, atol=1e-5, rtol=0)


def test_the_real_base_knows_sounds_and_no_order(clips) -> None:
    """Fold 1, which the base was trained on, so that fold 4 is left alone."""
    encoder = load_encoder(str(BASE))
    report = ZsteEvaluator(clips.in_folds([1]), RenderSettings.of(encoder), n_groups=40, tasks=("1", "3O"))(encoder)
    assert report.results["1"]["accuracy"] > 0.8
    low, high = report.results["3O"]["ci95"]
    assert low < 0.5 < high
