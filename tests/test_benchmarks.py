"""The benchmarks run, what they write is whole, and the memory they report is what a process takes."""

import json
import os
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

FOLDER = Path(__file__).parent.parent / "benchmarks"
FIELDS = ["name", "value", "unit", "baseline", "ratio", "n", "min", "max", "hardware", "versions", "command"]
AIMS = {
    "stage_b_10_epochs_vs_full_finetune",
    "stage_b_10_epochs_vs_plain_freezing",
    "peak_memory_vs_full_finetune",
    "log_mel_vs_feature_extractor",
}


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    monkeypatch.syspath_prepend(str(FOLDER))
    return __import__("harness")


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="memory is measured on Linux alone")
def test_memory_of_a_whole_tree_is_seen(harness, tmp_path: Path) -> None:
    """200 MB in a child and 40 MB of a mapped file in its parent, beside what two bare interpreters take."""
    mapped = tmp_path / "mapped"
    mapped.write_bytes(bytes(40_000_000))
    child = "import time; held = b'1' * 200_000_000; time.sleep(1)"
    parent = (
        "import mmap, subprocess, sys; file = open(sys.argv[1], 'rb')\n"
        "held = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ); sum(held[::4096])\n"
        "subprocess.run([sys.executable, '-c', sys.argv[2]], check=True); print('{\"seconds\": 1.0}')"
    )
    idle = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]], check=True); print('{}')"
    bare = harness.measure([sys.executable, "-c", idle, "import time; time.sleep(0.5)"])
    one = harness.measure([sys.executable, "-c", parent, str(mapped), child])
    assert one.report == {"seconds": 1.0}
    assert 199e6 < one.peak_anon - bare.peak_anon < 215e6
    assert 38e6 < one.peak_file - bare.peak_file < 50e6


def test_a_contestant_that_fails_says_why(harness) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)ended with 1:.*ZeroDivisionError"):
        harness.measure([sys.executable, "-c", "1 / 0"])


def test_rows_replace_those_of_the_same_name_and_hardware(harness, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["/some/where/stage_b.py", "--data_dir", "/some/where/ESC-50"])
    path, readme = tmp_path / "results.json", tmp_path / "README.md"
    readme.write_text(f"before\n{harness.BEGIN}\nold\n{harness.END}\nafter\n")
    results = harness.Results(threads=2)
    results.add("time", 2.0, "s", 13.0)
    results.add("rate", 2.0, "groups/s", 1.0, rate=True)
    results.save(path)
    again = harness.Results(threads=2)
    again.add("time", 4.0, "s", 13.0)
    again.save(path)
    elsewhere = harness.Results(threads=1)
    elsewhere.add("time", 8.0, "s")
    elsewhere.save(path)
    rows = json.loads(path.read_text())
    assert [list(row) for row in rows] == [FIELDS] * 3
    assert sorted((row["name"], row["value"], row["ratio"]) for row in rows if row["ratio"]) == [
        ("rate", 2.0, 2.0),
        ("time", 4.0, 3.25),
    ]
    assert {row["command"] for row in rows} == {"python benchmarks/stage_b.py --data_dir ESC-50"}
    said = readme.read_text()
    assert said.startswith("before\n") and said.endswith("\nafter\n") and "old" not in said
    assert "| time | 4 | s | 13 | 3.25 x |  |  |" in said and "| time | 8 | s |  |  |  |  |" in said


def test_rows_of_several_runs_hold_their_ends(harness, monkeypatch, capsys) -> None:
    """Ratio of medians; its ends are the worst and the best that two of the runs give, by enumeration."""
    monkeypatch.setattr(sys, "argv", ["stage_b.py"])
    results = harness.Results(threads=2)
    results.add("ours", [2.0, 4.0, 3.0], "s")
    results.add("ours_vs_theirs", [2.0, 4.0, 3.0], "s", [30.0, 10.0])
    results.add("rate", [2.0, 4.0, 3.0], "groups/s", [1.0], rate=True)
    results.add("once", 2.0, "s", 13.0)
    found = [(row.value, row.baseline, row.ratio, row.n, row.min, row.max) for row in results.rows]
    assert found == [
        (3.0, None, None, 3, 2.0, 4.0),
        (3.0, 20.0, 6.667, 2, 2.5, 15.0),
        (3.0, 1.0, 3.0, 1, 2.0, 4.0),
        (2.0, 13.0, 6.5, None, None, None),
    ]


def test_pages_quote_what_results_json_says(harness) -> None:
    headline = __import__("headline")
    rows, root = harness.read(), FOLDER.parent
    for page, expected in (
        ("README.md", headline.headline(rows)),
        ("docs/method.md", f"\n\n{headline.ratios(rows)}\n\n{headline.machines(rows)}\n\n"),
    ):
        text = (root / page).read_text(encoding="utf-8")
        assert f"{headline.BEGIN}{expected}{headline.END}" in text, f"{page}: run python benchmarks/headline.py"


def test_a_headline_is_the_range_over_machines(harness) -> None:
    headline = __import__("headline")
    row = {"name": "stage_b_10_epochs_vs_full_finetune", "value": 10.0, "n": 3, "min": 7.0, "max": 9.0}
    fast, slow = (row | {"hardware": f"cpu {ratio}", "ratio": ratio, "baseline": 10 * ratio} for ratio in (15.73, 8.0))
    other = fast | {"name": "training_step_vs_full_finetune", "ratio": 99.0}
    assert headline.headline([fast, slow, other]).startswith("[8.0 to 15.7 x as fast]")
    assert headline.headline([fast]).startswith("[15.7 x as fast]")
    assert [line[:9] for line in headline.machines([fast, slow]).splitlines()] == ["- cpu 8.0", "- cpu 15."]
    assert "medians of 3 runs or more, which lie between 7.0 and 9.0 x" in headline.machines([fast])
    assert "measured once" in headline.machines([fast | {"n": 1}])


def test_the_readme_says_what_results_json_says(harness) -> None:
    rows = harness.read()
    readme = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert f"{harness.BEGIN}\n\n{harness.table(rows)}\n\n{harness.END}" in readme
    for row in rows:
        assert list(row) == FIELDS, row["name"]
        assert (row["baseline"] is None) == (row["ratio"] is None), row["name"]
        if row["ratio"] is not None:
            better = max(row["baseline"] / row["value"], row["value"] / row["baseline"])
            assert max(row["ratio"], 1 / row["ratio"]) == pytest.approx(better, rel=2e-3), row["name"]
        assert "/" not in row["hardware"].split(",")[0] and row["command"].startswith("python benchmarks/")
    if rows:
        assert {row["name"] for row in rows} >= AIMS


def test_every_benchmark_runs(tmp_path: Path) -> None:
    """All in one process, which imports once; and one contestant as the real runs start it."""
    scripts = [
        path.stem for path in sorted(FOLDER.glob("*.py")) if "arguments(__doc__)" in path.read_text(encoding="utf-8")
    ]
    assert scripts == [
        "crossover",
        "estimate",
        "features",
        "latency",
        "loss",
        "memory",
        "pipeline",
        "precision",
        "scaling",
        "stage_b",
        "startup",
        "streaming",
    ]
    before = {path: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()}
    code = f"import sys; sys.path.insert(0, {str(FOLDER)!r})\n"
    code += "".join(f"import {name}; print('== {name}', flush=True); {name}.main(['--smoke'])\n" for name in scripts)
    contestant = [str(FOLDER / "contestants.py"), "plain_freezing", "--json-config"]
    job = {"checkpoint": "clap-mini", "folder": "run", "clips_per_class": 2, "groups": 4, "batch": 4, "epochs": 1}
    said = []
    for command in (["-c", code], [*contestant, json.dumps(job)]):
        done = subprocess.run(
            [sys.executable, *command], cwd=tmp_path, env={**os.environ, "OMP_NUM_THREADS": "1"},
            capture_output=True, text=True, check=False, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        said.append(done.stdout)
    losses = dict(re.findall(r"repeat 1, (\w+): .* loss ([\d.]+)", said[0]))
    # Equal work: the same groups in the same order, with the same layers trained. Dropout's masks are each their own,
    # for ours do not depend on how often loaders were begun.
    assert float(losses["cached"]) == pytest.approx(float(losses["plain_freezing"]), abs=0.03)
    assert losses["cached"] == losses["cached_again"]
    assert json.loads(said[1].splitlines()[-1])["steps"] == 1
    assert {path: path.read_bytes() for path in FOLDER.iterdir() if path.is_file()} == before
