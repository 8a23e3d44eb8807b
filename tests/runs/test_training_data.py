"""What a run trains on, and what judges it."""

from pathlib import Path

from support.tiny import tiny_processor
from teminal_hf.clips.sources import sound_bank
from teminal_hf.runs.arguments import parse
from teminal_hf.runs.training_data import group_data


def test_groups_to_train_on_alone_are_augmented(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("augment: true\neval_strategy: epoch\nn_groups: 16\n", encoding="utf-8")
    config = parse("stage_b", [str(path), "--output_dir", str(tmp_path)], path)
    folds = {"train": (1, 2), "validation": (3,), "test": (4,)}
    data = group_data(config, sound_bank(2), folds, tiny_processor().feature_extractor)
    assert data.train.renderer.settings.augment
    assert not data.validation.renderer.settings.augment
    assert data.settings is not None and not data.settings.augment  # of the evaluators
