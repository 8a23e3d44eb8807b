"""Training rows of TACOS: tones whose order is known, splits, wordings, what is no negative, and a training."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from transformers import ClapFeatureExtractor

from support.clips import tone
from support.recipes import refused, run_recipe
from support.tiny import tiny_processor
from teminal_hf.audio.waveform import Waveform
from teminal_hf.data.captions import meaning_id
from teminal_hf.data.groups import view_meanings
from teminal_hf.errors import DataError
from teminal_hf.order_tests.tacos_training import LEVEL, SceneGroups
from teminal_hf.training.data_collator import GroupCollator, false_negatives

RATE, VIEWS = 16_000, ("forward", "reversed", "overlay")
EXTRACTOR = ClapFeatureExtractor(sampling_rate=RATE, max_length_s=4, feature_size=16, frequency_max=8000)
NAMES = {400: "a flute", 900: "a whistle", 1500: "a beep", 2500: "a chirp"}


def write(folder: Path, *, test: tuple[str, ...] = ("9.wav",)) -> Path:
    """Six recordings: two tones in sequence, each in another order or of others, and two with both at once."""
    (folder / "audio").mkdir()
    rows: list[tuple[str, str, float, float]] = []
    pitches = [(400, 900), (900, 400), (1500, 2500), (2500, 1500), (400, 2500), (1500, 900)]
    for i, (x, y) in enumerate(pitches):
        quiet = np.zeros(RATE, dtype=np.float32)
        at_once = i >= 4
        parts = (
            [tone(x, 1.0, RATE) + tone(y, 1.0, RATE)] if at_once else [tone(x, 1.0, RATE), quiet, tone(y, 1.0, RATE)]
        )
        soundfile.write(folder / "audio" / f"{i}.wav", 0.3 * np.concatenate(parts), RATE)
        spans = [(0, 1), (0, 1)] if at_once else [(0, 1), (2, 3)]
        rows += [(f"{i}.wav", f"{NAMES[p].capitalize()}.", *span) for p, span in zip((x, y), spans, strict=True)]
    tables = {
        "annotations_strong": [("filename", "text", "onset", "offset"), *rows],
        "development_split": [("filename",), *((f"{i}.wav",) for i in range(6))],
        "test_split": [("filename",), *((name,) for name in test)],
    }
    for name, table in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(table)
    return folder


def pitch(part: Waveform) -> int:
    found = float(np.argmax(np.abs(np.fft.rfft(part))) * RATE / len(part))
    return min(NAMES, key=lambda known: abs(known - found))


def test_captions_say_what_is_heard_in_both_orders(tmp_path: Path) -> None:
    groups = SceneGroups(write(tmp_path), EXTRACTOR)
    assert len(groups) == 4 and groups.left_out == {}
    said = []
    for epoch in (0, 1):
        groups.draw_captions(0, epoch)
        for i in range(4):
            row = groups[i]
            for view in ("forward", "reversed"):
                array = row[view]["array"]
                assert array.shape == (4 * RATE,)
                sounding = np.flatnonzero(np.abs(array) > 0.02)
                first, last = sounding[0], sounding[-1]
                names = [NAMES[pitch(array[first : first + RATE // 2])], NAMES[pitch(array[last - RATE // 2 : last])]]
                words = row[f"{view}_caption"]
                said.append((i, view, "before" if "before" in words else "after"))
                expected = f"{names[0]} before {names[1]}" if "before" in words else f"{names[1]} after {names[0]}"
                assert words == expected
            assert " while " in row["overlay_caption"]
            powers = [np.mean(np.square(row[view]["array"][: 3 * RATE])) for view in ("forward", "reversed")]
            assert powers[0] == pytest.approx(powers[1]) == pytest.approx(10 ** (LEVEL / 10), rel=0.05)
    assert len(set(said)) == 16  # each recording in both wordings
    assert sum(word == "after" for _, _, word in said) == 8
    assert {row[f"{view}_caption"] for row in groups.manifest for view in VIEWS} <= set(groups.captions)


def test_both_orders_are_said_for_the_hinge_between_captions(tmp_path: Path) -> None:
    groups = SceneGroups(write(tmp_path), EXTRACTOR)
    rows = [groups[0], groups[1]]
    said = GroupCollator(tiny_processor(), VIEWS, order=True).captions(rows)["order_"]
    for number, row in enumerate(rows):
        x, y = row["forward_caption"].replace(" after ", " before ").split(" before ")
        x, y = (x, y) if " before " in row["forward_caption"] else (y, x)
        expected = [f"{x} before {y}", f"{y} after {x}", f"{y} before {x}", f"{x} after {y}"]
        assert [way[number] for way in said] == expected


def test_no_caption_that_holds_is_a_negative(tmp_path: Path) -> None:
    """0 and 1 are each other's reversal: their captions are masked; a recording's own exchange never is."""
    groups = SceneGroups(write(tmp_path), EXTRACTOR)
    rows = groups.manifest
    keys = [view_meanings(row, view) for view in VIEWS for row in rows]
    width = max(map(len, keys))
    mask = false_negatives(torch.tensor([[meaning_id(k) for k in (key + key[:1] * width)[:width]] for key in keys]))
    n = len(rows)
    for i in range(n):
        assert not mask[i, n + i] and not mask[n + i, i] and not mask[i, 2 * n + i] and not mask[2 * n + i, i]
    alike = {frozenset(("a flute", "a whistle"))}
    pairs = [(i, j) for i in range(n) for j in range(n) if i != j and mask[i, n + j]]
    sounds = {frozenset(name for name in NAMES.values() if name in rows[i]["forward_caption"]) for i, _ in pairs}
    assert alike <= sounds and len(pairs) == 4


def test_nothing_of_the_test_split_is_trained_on(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"1 recordings are in development_split\.csv and in test_split\.csv, such as 0"
    ):
        SceneGroups(write(tmp_path, test=("0.wav",)), EXTRACTOR)


def test_what_does_not_fit_is_counted(tmp_path: Path) -> None:
    folder = write(tmp_path)
    short = ClapFeatureExtractor(sampling_rate=RATE, max_length_s=2, feature_size=16, frequency_max=8000)
    with pytest.raises(DataError, match=r"has 0 pairs .* \{\"?'?pairs that are longer than the model's window"):
        SceneGroups(folder, short)
    with (folder / "annotations_strong.csv").open("a", encoding="utf-8") as file:
        file.write("0.wav,Late.,3.4,3.9\n")
    groups = SceneGroups(folder, EXTRACTOR)
    assert groups.left_out == {"pairs that end beyond their recording": 1, "pairs nearer than the margin": 1}


def test_by_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write(tmp_path)
    monkeypatch.chdir(tmp_path)
    arguments = ["--source", "tacos", "--num_train_epochs", "2", "--per_device_train_batch_size", "4"]
    assert "--source tacos needs --data_dir" in refused("plain_pairs", *arguments)
    assert "trained on by plain_pairs" in refused("stage_b", "--source", "tacos", "--data_dir", str(folder))
    assert "margin is of --source tacos" in refused("plain_pairs", "--source", "own", "--margin", "1")
    kept = ["--retention", "1", "--reference_size", "12", "--text_hinge", "1"]
    run_recipe("plain_pairs", *arguments, *kept, "--data_dir", str(folder), "--output_dir", "out")
    assert (tmp_path / "out" / "model.safetensors").is_file()
