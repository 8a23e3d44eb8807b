"""A short, seeded selection of the campaign, and what the campaign makes of runs that went wrong."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from faults.campaign import read_results, report
from faults.fault import Bad
from faults.ground import check_clean, check_same
from faults.programs import Ended
from support.paths import ROOT

# Of each kind some; of bad inputs those that are refused before anything is loaded.
SELECTION = ["prefix *", "checkpoint *", "finish *", "shard of *", "samples.int16: *", "index.json: *"]
SELECTION += ["train *", "no such *", "n_groups *", "weights *", "rank *", "a *", "best *", "compare *", "data push *"]
SELECTION += ["run *", "page *", "metric *", "first rank, half an optimizer"]
NUMBER = 4  # of each kind, if there are so many


def test_a_selection_is_survived(tmp_path: Path) -> None:
    command = ["-m", "tests.faults", "--number", str(NUMBER), "--folder", str(tmp_path), "--only", *SELECTION]
    env = {name: value for name, value in os.environ.items() if name not in ("HF_HUB_OFFLINE", "TEMINAL_CACHE")}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=env, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results = read_results(tmp_path)
    assert {outcome["outcome"] for outcome in results.values()} == {"survived"}
    kinds = [kind for kind, _ in results]
    counts = {kind: kinds.count(kind) for kind in dict.fromkeys(kinds)}
    assert counts == {"kills": NUMBER, "caches": NUMBER, "inputs": NUMBER, "hub": NUMBER, "ranks": 1}
    assert "| kills | 4 | 4 | 0 | 0 | 0 |" in done.stdout


def test_the_table_names_what_did_not_survive_and_the_command_that_repeats_it() -> None:
    outcomes = ("survived", "lost", "silently wrong", "silently wrong", "traceback", "unclear")
    results = [
        {"kind": "caches", "name": f"x: {i}", "outcome": outcome, "what": f"found {i}"}
        for i, outcome in enumerate(outcomes)
    ]
    lines = report(results, 7).splitlines()
    assert lines[0] == "| kind | tried | survived | lost | silently wrong | tracebacks |"
    assert lines[2] == "| caches | 6 | 1 | 1 | 2 | 1 |"
    assert lines.index("- lost: x: 1: found 1") + 1 == lines.index(
        "  python -m tests.faults --kind caches --seed 7 --again --only 'x: 1'"
    )
    assert sum(line.startswith("- ") for line in lines) == 5


def test_a_line_that_was_cut_is_tried_again(tmp_path: Path) -> None:
    whole = [json.dumps({"kind": "hub", "name": "a", "outcome": outcome}) for outcome in ("lost", "survived")]
    (tmp_path / "results.jsonl").write_text("\n".join([*whole, '{"kind": "hub", "na']))
    assert read_results(tmp_path) == {("hub", "a"): json.loads(whole[1])}


def test_what_counts_as_a_message() -> None:
    assert Ended(1, "", "10%|#\rloading\nerror: n_groups\nis 0\n").last == "error: n_groups is 0"
    assert Ended(1, "", "error: x\n").has_message and Ended(2, "", "usage: y\nteminal: error: x\n").has_message
    assert not Ended(1, "", "x\n").has_message and not Ended(-9, "", "error: x\n").has_message
    with pytest.raises(Bad) as bad:
        Ended(1, "", "Traceback (most recent call last):\n  File x\nKeyError: 'a'\n\nreport it\n").checked()
    assert (bad.value.outcome.how, bad.value.outcome.what) == ("traceback", "KeyError: 'a'")
    with pytest.raises(Bad, match="did not end"):
        Ended(None, "", "").checked()


def write_run(folder: Path, weight: float = 1.0, figures: str = "{}", complete: bool = True) -> Path:
    run = folder / "run"
    run.mkdir(parents=True)
    save_file({"w": torch.tensor([weight])}, run / "model.safetensors")
    for name, text in {"zste.json": figures, "README.md": "", "run.json": json.dumps({"complete": complete})}.items():
        (run / name).write_text(text)
    return run


def test_how_a_result_is_judged(tmp_path: Path) -> None:
    truth = write_run(tmp_path / "truth")
    check_same(truth, write_run(tmp_path / "same"))
    for i, (how, options) in enumerate(
        [
            ("silently wrong", {"weight": 1.0000001}),
            ("silently wrong", {"figures": "{1}"}),
            ("lost", {"complete": False}),
        ]
    ):
        with pytest.raises(Bad) as bad:
            check_same(truth, write_run(tmp_path / str(i), **options))
        assert bad.value.outcome.how == how
    run = write_run(tmp_path / "without")
    (run / "model.safetensors").unlink()
    with pytest.raises(Bad, match="without weights"):
        check_same(truth, run)
    check_clean(tmp_path / "same")
    (tmp_path / "same" / "run" / "checkpoint-3").mkdir()
    with pytest.raises(Bad, match="checkpoint-3"):
        check_clean(tmp_path / "same")
