"""The `teminal` command."""

import csv
import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile

from teminal_hf.commands import cli
from teminal_hf.models.checkpoint import load_clap, save_checkpoint


def test_evaluate_prints_a_table_and_writes_every_item(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    arguments = ["evaluate", "clap-mini", "--groups", "5", "--tasks", "3A", "3O", "--json", str(path)]
    cli.main(arguments)
    first = capsys.readouterr().out
    assert "| 3O | 50.0 | 5 |" in first
    written = json.loads(path.read_text())["clap-mini"]
    assert len(written["items"]["3A"]["right"]) == 5
    cli.main(arguments)
    assert capsys.readouterr().out == first


def test_evaluate_against_a_base_gives_no_difference_to_itself(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["evaluate", "clap-mini", "--base", "clap-mini", "--groups", "4", "--tasks", "3O"])
    assert "+0.0 [+0.0, +0.0]" in capsys.readouterr().out


def test_tables_in_other_formats(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "clap-mini", "--groups", "4", "--tasks", "1", "3O"]
    cli.main([*arguments, "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["task"] for row in rows] == ["R0", "1", "1_tiled", "3O"]
    assert rows[3]["chance (fraction)"] == "0.5" and rows[3]["n"] == "4"
    accuracy = float(rows[3]["accuracy (fraction)"])
    cli.main([*arguments, "--format", "latex"])
    said = capsys.readouterr().out
    assert rf"3O & 50.0 & 4 & {100 * accuracy:.1f} [" in said and r"1\_tiled & 4.2 & 4 & " in said
    cli.main(arguments)
    said = capsys.readouterr().out
    assert f"| 3O | 50.0 | 4 | {100 * accuracy:.1f} [" in said
    assert said.endswith("\n- 3O: two sounds in sequence, order alone: X before Y, or Y before X\n")


def test_rank_names_the_windows_of_a_long_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    for seconds, windows in ((3, 0), (21, 3)):
        path = tmp_path / f"{seconds}.wav"
        soundfile.write(path, 0.1 * rng.standard_normal(seconds * 44_100), 44_100)
        cli.main(["rank", str(path), "rain", "dog before rain"])
        said = capsys.readouterr().out
        assert ("evenly spaced windows" in said) == bool(windows)
        assert {"rain", "dog before rain"} == {line.split("  ")[1] for line in said.splitlines()[-2:]}
        if windows:
            assert f"heard through {windows} evenly spaced windows, averaged" in said


def test_errors_are_one_line(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"not audio")
    for arguments, message in (
        (["rank", str(tmp_path / "a.wav"), "rain"], r"a\.wav cannot be decoded as audio"),
        (["rank", str(tmp_path / "none.wav"), "rain"], r"there is no file .*none\.wav"),
        (["rank", str(tmp_path), "rain"], r"none of the 1 files can be heard; .*a\.wav cannot be decoded as audio"),
        (["rank", str(tmp_path / "a.wav"), ""], "caption 1 of 1 is empty"),
        (["rank", "a.wav", "rain", "--model", str(tmp_path / "none")], "there is no folder .*none; .*/ holds: no fol"),
        (["evaluate", "clap-mini", "--data_dir", str(tmp_path)], "no ESC-50 folder"),
        (["evaluate", "clap-mini", "--folds", "9"], r"no clip in fold\(s\) \[9\]; the source has folds \[1, 2, 3, 4\]"),
        (["compare", str(tmp_path)], "holds no zste.json"),
    ):
        with pytest.raises(SystemExit, match=f"^error: .*{message}"):
            cli.main(arguments)


def test_an_evaluation_on_trained_folds_is_called_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save_checkpoint(*load_clap("clap-mini"), tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"folds": {"train": [1, 2]}}))
    for fold, warned in (("2", True), ("4", False)):
        caplog.clear()
        cli.main(["evaluate", str(tmp_path), "--groups", "2", "--tasks", "3O", "--folds", fold])
        assert ("was trained on fold(s) [2]" in caplog.text) == warned


def test_an_evaluation_asks_apart_what_training_left_out(
    tmp_path: Path, esc50: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_checkpoint(*load_clap("clap-mini"), tmp_path / "run")
    (tmp_path / "run" / "run.json").write_text(json.dumps({"settings": {"left_out_classes": ["dog", "rain"]}}))
    names = ["--known_names", "dog", "rain", "door wood knock", "cow"]
    arguments = ["evaluate", str(tmp_path / "run"), "--clips_per_class", "2", "--groups", "3", "--tasks", "3O"]
    cli.main([*arguments, "--test_folds", "4", "--known", str(esc50), *names])
    rows = [line.split(" | ") for line in capsys.readouterr().out.splitlines() if line.startswith("| R0")]
    assert [row[:3] for row in rows] == [
        ["| R0", "4.2", "3"],
        ["| R0 ESC-50", "25.0", "30"],
        ["| R0 left out", "50.0", "4"],
        ["| R0 left out of all", "4.2", "4"],
    ]
