"""Classes kept out of training, and further sounds: neither is trained on, both are asked at the end."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.paths import ROOT
from support.tiny import tiny_encoder, tiny_processor
from teminal_hf.clips.sources import sound_bank
from teminal_hf.errors import ConfigError
from teminal_hf.evaluation.known import Evaluation, further_clips
from teminal_hf.runs import run_folder
from teminal_hf.runs.arguments import Config, parse
from teminal_hf.runs.checks import check
from teminal_hf.runs.final_report import evaluators
from teminal_hf.runs.lineage import starting_point
from teminal_hf.runs.training_data import TrainingData, group_data

KEPT_OUT = ["dog", "rain"]


def config(*arguments: str) -> Config:
    small = ["--n_groups", "16", "--clips_per_class", "2", "--train_folds", "1", "--report_groups", "4"]
    return parse("stage_b", [*small, *arguments], ROOT / "recipes" / "stage_b.yaml")


def data_of(chosen: Config) -> TrainingData:
    clips = sound_bank(2)
    return group_data(chosen, clips, chosen.data.folds(clips), tiny_processor().feature_extractor)


def test_classes_left_out_are_tested_and_not_trained_on(esc50: Path) -> None:
    chosen = config("--left_out_classes", *KEPT_OUT, "--eval_strategy", "epoch")
    data = data_of(chosen)
    assert data.validation_clips is not None and data.test_clips is not None
    for rows in (data.train, data.validation):
        assert not {row[name] for row in rows.manifest for name in ("label_a", "label_b")} & set(KEPT_OUT)
    assert not set(data.validation_clips.classes) & set(KEPT_OUT)
    assert set(data.test_clips.classes) == {*data.validation_clips.classes, *KEPT_OUT}
    during, final = evaluators(chosen, data, further_clips([str(esc50)], chosen.data))
    assert during is not None and not isinstance(during, Evaluation) and final is not None
    names = {row: known.names for row, known in final.known.items()}
    every = [label.replace("_", " ") for label in data.test_clips.classes]
    assert names == {
        "R0": every,
        "R0 ESC-50": ["dog", "door wood knock", "rain"],
        "R0 left out": KEPT_OUT,
        "R0 left out of all": every,
    }
    assert {final.known[row].clips.classes == KEPT_OUT for row in list(names)[2:]} == {True}
    assert set(final(tiny_encoder()).results) >= names.keys()


def test_without_them_nothing_changes() -> None:
    plain, left_out = (data_of(config(*flags)) for flags in ((), ("--left_out_classes", *KEPT_OUT)))
    assert {label for row in plain.train.manifest for label in (row["label_a"], row["label_b"])} >= set(KEPT_OUT)
    assert plain.test_clips is not None and left_out.test_clips is not None
    assert plain.test_clips.fingerprint == left_out.test_clips.fingerprint


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--left_out_classes dog", "left_out_classes needs at least two"),
        ("--left_out_classes dog dog", "left_out_classes names dog twice"),
        ("--known_names dog rain", "known_names are candidates for further sounds"),
        ("--known a b a", "known names a twice"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(config(*arguments.split()))


def test_classes_that_there_are_not_are_refused_with_those_that_there_are() -> None:
    with pytest.raises(ConfigError, match=r"left_out_classes: there is no unicorn; choose of .*cow, .*dog"):
        data_of(config("--left_out_classes", "dog", "unicorn"))
    with pytest.raises(ConfigError, match=r"left_out_classes leaves 1 of \d+ classes"):
        data_of(config("--left_out_classes", *sound_bank(2).classes[1:]))


def test_a_stage_a_that_heard_them_is_no_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def stage_a(name: str, **settings: Any) -> str:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        facts = {"stage": "stage_a", "source": "soundbank", "folds": {"train": [1]}, "base": "clap-mini"}
        (folder / "run.json").write_text(json.dumps(facts | {"complete": True, "settings": settings}))
        (folder / "model.safetensors").touch()
        return str(folder)

    without = stage_a("stage_a-001", left_out_classes=[*KEPT_OUT, "cow"])
    heard = stage_a("stage_a-002", left_out_classes=["dog"])
    chosen, folds = config("--left_out_classes", *KEPT_OUT), {"train": (1,), "test": (4,)}
    assert Path(starting_point(chosen, folds).checkpoint).resolve() == Path(without)
    assert Path(starting_point(config(), folds).checkpoint).resolve() == Path(heard)
    with pytest.raises(ConfigError, match="the start was trained on rain, which left_out_classes keeps out"):
        starting_point(config("--left_out_classes", *KEPT_OUT, "--start_from", heard), folds)
    assert run_folder.left_out(run_folder.read_record(heard)) == {"dog"}
