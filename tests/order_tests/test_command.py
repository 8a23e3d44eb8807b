"""`teminal evaluate --test`: tables, files, and flags that make no sense beside it; the registry and its page."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from support.documents import read as read_page
from support.order_tests import write_sound
from teminal_hf.commands import cli
from teminal_hf.order_tests.readers import READERS


@pytest.fixture
def compa(tmp_path: Path) -> Path:
    with (tmp_path / "CompA_order_benchmark.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(("pair_caption", "reversed_pair_caption", "pair_file", "reversed_pair_file", "triplet_caption",
                         "triplet_file"))  # fmt: skip
        for i in range(3):
            writer.writerow((f"dog {i} then rain", f"rain then dog {i}", f"{i}.wav", f"{i}_rev.wav", "-", "-"))
            write_sound(tmp_path / "CompA_order_files" / f"{i}.wav", 200.0 + i, 900.0)
            if i:  # the first lacks a file
                write_sound(tmp_path / "CompA_order_files" / f"{i}_rev.wav", 900.0, 200.0 + i)
    return tmp_path


def test_a_model_gets_a_table_with_its_legend(compa: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = compa / "result.json"
    cli.main(["evaluate", "clap-mini", "--test", "compa", "--test_dir", str(compa), "--json", str(path)])
    out = capsys.readouterr().out
    assert re.search(r"^\| compa \| chance \| n \| accuracy \|$", out, re.M)
    assert re.search(r"^\| text \| 25\.0 \| 2 \| \d+\.0 \[", out, re.M) and "| group | 16.7 | 2 |" in out
    assert "- group: the same: both are right" in out and "of three" not in out
    assert "Left out: rows whose sound file is not there (1)." in out
    written = json.loads(path.read_text())["clap-mini"]
    assert written["test"] == "compa" and written["left_out"] == {"rows whose sound file is not there": 1}
    assert len(written["items"]["group"]["right"]) == written["results"]["group"]["n"] == 2


def test_a_model_against_itself_differs_by_nothing(compa: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["evaluate", "clap-mini", "--base", "clap-mini", "--test", "compa", "--test_dir", str(compa)]
    cli.main(arguments)
    out = capsys.readouterr().out
    assert out.count("+0.0 [+0.0, +0.0]") == 3 and "a bootstrap over recordings for a difference" in out
    cli.main([*arguments, "--format", "csv"])
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["compa"] for row in rows] == ["text", "audio", "group"]
    assert {row["difference (fraction)"] for row in rows} == {"0"}
    cli.main([*arguments, "--format", "latex"])
    assert r"\begin{tabular}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--test", "compa"], "needs both --test NAME and --test_dir DIR"),
        (["--test_dir", "."], "needs both --test NAME and --test_dir DIR"),
        (["--margin", "1"], "needs both --test NAME and --test_dir DIR"),
        (
            ["--test", "compa", "--test_dir", ".", "--margin", "1"],
            "--margin is of --test tacos; compa has no intervals",
        ),
        (["--test", "compa", "--test_dir", ".", "--groups", "4", "--tasks", "3O"], "leave out --groups, --tasks"),
        (["--test", "compa", "--test_dir", ".", "--known", "x", "--retrieval"], "leave out --known, --retrieval"),
        (["--test", "compa", "--test_dir", ".", "--data_dir", "x", "--seed", "1"], "leave out --seed, --data_dir"),
        (["--test", "compa", "--test_dir", "nowhere"], "there is no folder nowhere"),
        (["--test", "tacos", "--test_dir", ".", "--margin", "-1"], "margin must be 0 seconds or more, found -1.0"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(flags: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=re.escape(message)):
        cli.main(["evaluate", "clap-mini", *flags])


def test_the_page_tells_of_every_test_that_there_is() -> None:
    table = read_page("docs/order-tests.md").partition("## The tests")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == list(READERS)
