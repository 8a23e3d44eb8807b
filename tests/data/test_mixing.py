"""A user's own pairs beside the groups of stage B."""

import logging
from pathlib import Path

import datasets
import numpy as np
import pytest
import torch
from transformers import ClapFeatureExtractor

from support import tiny
from support.clips import table, tone
from support.recipes import refused, run_recipe
from teminal_hf.data.caption_pairs import CaptionPairs
from teminal_hf.data.groups import GroupDataset, plan, view_meanings
from teminal_hf.data.mixing import GroupsWithPairs
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.runs.training_data import TrainingData, warn_of_long_captions
from teminal_hf.training.data_collator import GroupCollator, false_negatives
from teminal_hf.training.losses import symmetric_infonce

RATE, WINDOW = tiny.RATE, 1.0
EXTRACTOR = ClapFeatureExtractor(sampling_rate=RATE, max_length_s=1, feature_size=16, frequency_max=4000)


def own(captions: list[str]) -> CaptionPairs:
    """Pairs whose recordings are tones, each of a pitch of its own."""
    audio = [{"array": tone(300 + 40 * i, 0.5, RATE), "sampling_rate": RATE} for i in range(len(captions))]
    return CaptionPairs(datasets.Dataset.from_dict({"audio": audio, "text": captions}), "audio", "text", EXTRACTOR)


def groups(n: int) -> GroupDataset:
    clips = table({str(i): tone(200 + 100 * i, 0.6, RATE) for i in range(4)}, ["dog", "dog", "rain", "rain"])
    usable = clips.usable(RATE)
    rows = list(plan("stage_b", usable, n, seed=0))
    return GroupDataset(rows, Renderer(usable, RenderSettings(RATE, WINDOW)), tiny.STAGE_B)


def test_every_pair_is_dealt_out_once_a_round() -> None:
    pairs = own([f"dog before rain {i}" for i in range(5)])
    mixed = GroupsWithPairs(groups(12), pairs, seed=3)
    dealt = [row["pair_caption"] for row in mixed.manifest]
    for start in (0, 5):
        assert sorted(dealt[start : start + 5]) == [f"dog before rain {i}" for i in range(5)]
    assert dealt[:5] != dealt[5:10]
    assert dealt == [row["pair_caption"] for row in GroupsWithPairs(groups(12), pairs, seed=3).manifest]
    for i in (0, 7):
        row = mixed[i]
        number = int(row["pair_caption"].split()[-1])
        np.testing.assert_array_equal(row["pair"]["array"], pairs[number]["forward"]["array"])
        np.testing.assert_array_equal(row["forward"]["array"], mixed.groups[i]["forward"]["array"])
        assert view_meanings(row, "pair") == [f"caption\tdog before rain {number}"]


def test_what_the_captions_say_is_looked_at(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        GroupsWithPairs(groups(4), own(["a dog before the rain", "the rain, then a dog", "wind"]), seed=0)
        assert "3 pairs beside 4 groups; 2 captions say when" in caplog.text
        assert "1 captions use followed by, then, preceded by: ZSTE's task 8" in caplog.text
        caplog.clear()
        GroupsWithPairs(groups(2), own(["wind", "rain", "cow"]), seed=0)
    assert "none of the 3 captions says when" in caplog.text
    assert "1 of 3 pairs are not heard: set n_groups to 3 or more" in caplog.text


def test_their_loss_is_symmetric_infonce_among_themselves(tmp_path: Path) -> None:
    views = [*tiny.STAGE_B, "pair"]
    rows = tiny.groups(6)
    for i, row in enumerate(rows):
        row["pair"], row["pair_caption"] = row["forward"], f"{row['label_a']} before {'wind' if i % 2 else 'cow'}"
    trainer = tiny.trainer(tmp_path, views=views, pairs_weight=0.5, train_dataset=rows)
    batch = GroupCollator(tiny.tiny_processor(), views)(rows)
    audio, text = tiny.embeddings(trainer.model, batch)
    parts = trainer.contrast(audio, text, batch["meanings"], gather=False)
    scale = trainer.model.logit_scale_a.exp()
    said = batch["meanings"][18:, 0]
    same = said[:, None] == said[None, :]
    truth = symmetric_infonce(audio[18:], text[18:], scale, false_negatives=same)["loss"]
    torch.testing.assert_close(parts["pairs"], truth)
    without = tiny.trainer(tmp_path / "without", views=tiny.STAGE_B, train_dataset=rows)
    temporal = without.contrast(audio[:18], text[:18], batch["meanings"][:18], gather=False)["loss"]
    torch.testing.assert_close(parts["loss"], temporal + 0.5 * truth)


def test_they_are_no_mixtures_wherever_they_stand_among_the_views(tmp_path: Path) -> None:
    rows = tiny.groups(8)
    for row in rows:
        row["pair"], row["pair_caption"] = {**row["forward"], "array": row["forward"]["array"] * 0}, "wind"
    figures = []
    for views in (["pair", *tiny.STAGE_B], [*tiny.STAGE_B, "pair"], tiny.STAGE_B):
        trainer = tiny.trainer(tmp_path, views=views, mixture=0.5, max_steps=1, train_dataset=rows)
        trainer.train()
        figures.append(next(row["loss_mixture"] for row in trainer.state.log_history if "loss_mixture" in row))
    assert figures[0] == pytest.approx(figures[2], rel=1e-4)
    assert figures[1] == pytest.approx(figures[2], rel=1e-4)


def test_the_recipe_mixes_them_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    captions = [f"{a} before {b}" for a in ("dog", "rain", "wind") for b in ("cow", "bells", "clock")]
    audio = [{"array": tone(300 + 40 * i, 1.5, 16_000), "sampling_rate": 16_000} for i in range(9)]
    datasets.Dataset.from_dict({"sound": audio, "text": captions}).to_parquet("own/a.parquet")
    small = ["--n_groups", "16", "--max_steps", "2", "--per_device_train_batch_size", "8", "--clips_per_class", "2"]
    small += ["--report_groups", "3", "--report_tasks", "3O", "--start_from", "base", "--output_dir", "run"]
    small += ["--pairs", "own", "--pairs_audio_column", "sound", "--logging_steps", "1"]
    run_recipe("stage_b", *small)
    log = (tmp_path / "run" / "log.json").read_text()
    assert log.count('"loss_pairs"') == 2
    assert "pairs: own\n" in (tmp_path / "run" / "config.yaml").read_text()


def test_what_cannot_be_mixed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "pairs are mixed into stage B, not into stage_a" in refused("stage_a", "--pairs", "own")
    assert "the view pair and your pairs go together" in refused("stage_b", "--views", "forward", "single", "pair")
    datasets.Dataset.from_dict({"text": ["a", "b"]}).to_parquet("own/a.parquet")
    small = ["--start_from", "base", "--clips_per_class", "2"]
    assert "the data set has no column audio; present: text" in refused("stage_b", "--pairs", "own", *small)


def test_captions_of_one_recording_are_no_negatives_beside_groups_either() -> None:
    lists = [["dog before rain", "a bark, then rain", "wet dog"], ["wind"], ["wind before cow", "wet dog"]]
    audio = [{"array": tone(300 + 40 * i, 0.5, RATE), "sampling_rate": RATE} for i in range(3)]
    pairs = CaptionPairs(datasets.Dataset.from_dict({"audio": audio, "text": lists}), "audio", "text", EXTRACTOR)
    mixed = GroupsWithPairs(groups(12), pairs, seed=3)
    views = [*tiny.STAGE_B, "pair"]
    meanings = GroupCollator(tiny.tiny_processor(), views).meanings(mixed.manifest).unflatten(0, (4, -1))
    found = false_negatives(meanings[3])
    said = [row["pair_caption"] for row in mixed.manifest]
    holds = [
        lists[
            next(
                i
                for i in range(3)
                if np.allclose(
                    mixed[n]["pair"]["array"], np.pad(tone(300 + 40 * i, 0.5, RATE), (0, RATE // 2)), atol=1e-3
                )
            )
        ]
        for n in range(12)
    ]
    truth = [[text in captions for text in said] for captions in holds]
    assert found.tolist() == truth and not found.all()
    without = GroupCollator(tiny.tiny_processor(), tiny.STAGE_B).meanings(mixed.manifest).unflatten(0, (3, -1))
    assert torch.equal(false_negatives(meanings[0]), false_negatives(without[0]))


def test_captions_that_are_cut_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    processor = tiny.tiny_processor()  # reads 32 tokens, [CLS] and [SEP] included
    captions = ["dog " * 30, "dog " * 31, "rain " * 40, "wind"]
    warn_of_long_captions(TrainingData(own(captions)), processor)
    said = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(said) == 1 and "2 of 4 captions are longer than the 32 tokens that the model reads" in said[0]
    assert "(the longest has 42)" in said[0]
    caplog.clear()
    warn_of_long_captions(TrainingData(GroupsWithPairs(groups(4), own(["dog " * 40, "rain"]), seed=0)), processor)
    assert "1 of " in caplog.text and "captions are longer" in caplog.text
    caplog.clear()
    warn_of_long_captions(TrainingData(own(["dog", "rain"])), processor)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
