"""Comparisons of finished runs: what is one method, which figures its column holds, and which runs do not compare."""

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from support.finished_runs import answers, write_finished
from teminal_hf.commands import cli
from teminal_hf.errors import ConfigError, DataError, NotFoundError
from teminal_hf.runs.methods import compare_runs, method_of

BASE = answers(np.random.default_rng(0))
STAGE_A = {"stage": "stage_a", "source_name": "ESC-50", "pairs_name": "", "folds": {"train": [1]}, "settings": {}}


def record(settings: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    usual = {"stage": "stage_b", "source_name": "ESC-50", "pairs_name": "", "folds": {"train": [1]}, "history": []}
    return usual | {"base_name": "clap-mini", "seed": 1, "settings": settings or {}} | facts


def bootstrap(differences: np.ndarray) -> np.ndarray:
    """A plain percentile bootstrap of a mean over items of one clip each."""
    rng = np.random.default_rng(99)
    drawn = [differences[rng.integers(len(differences), size=len(differences))].mean() for _ in range(4_000)]
    return np.percentile(drawn, [2.5, 97.5])


def test_two_methods_of_two_seeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    made = {
        f"{tuning}{seed}": answers(rng, t3O=skill, t1=0.3)
        for tuning, skill in (("full", 0.9), ("lora", 0.7))
        for seed in (1, 2)
    }
    folders = []
    for name, after in made.items():
        settings = {"tuning": "lora"} if name.startswith("lora") else {}
        settings |= {"logging_steps": int(name[-1])}  # not the method
        folders.append(str(write_finished(tmp_path / name, BASE, after, seed=int(name[-1]), settings=settings)))
    path = tmp_path / "out.json"
    cli.main(["compare", *folders, "--json", str(path)])
    written, out = json.loads(path.read_text()), capsys.readouterr().out
    assert list(written["methods"]) == ["tuning=full", "tuning=lora"]
    full, lora = written["methods"].values()
    for task in BASE:
        mean = {t: (made[f"{t}1"][task] + made[f"{t}2"][task]) / 2 for t in ("full", "lora")}
        for found, tuning in ((full, "full"), (lora, "lora")):
            row = found["comparison"][task]
            assert row["post_accuracy"] == pytest.approx(mean[tuning].mean())
            assert row["post_seeds"] == pytest.approx([made[f"{tuning}{seed}"][task].mean() for seed in (1, 2)])
            assert row["difference"] == pytest.approx(mean[tuning].mean() - BASE[task].mean())
            np.testing.assert_allclose(row["ci95"], bootstrap(mean[tuning] - BASE[task]), atol=0.012)
        against = lora["against_first"][task]
        assert against["difference"] == pytest.approx(mean["lora"].mean() - mean["full"].mean())
        np.testing.assert_allclose(against["ci95"], bootstrap(mean["lora"] - mean["full"]), atol=0.012)
    assert full["against_first"] is None
    assert lora["differs_in"] == {"tuning": "lora"}
    assert list(lora["runs"].values()) == [{"seed": 1}, {"seed": 2}]
    heading, _, *rows = (line for line in out.splitlines() if line.startswith("|"))
    columns = "chance | n | before | tuning=full | tuning=lora | tuning=full - before | tuning=lora - before"
    assert heading == f"| task | {columns} | tuning=lora - tuning=full |"
    seeds = [f"{100 * made[f'full{seed}']['3O'].mean():.1f}" for seed in (1, 2)]
    assert f"| {100 * (made['full1']['3O'] + made['full2']['3O']).mean() / 2:.1f} ({', '.join(seeds)}) |" in rows[1]
    assert f"- tuning=lora: seeds 1, 2 ({folders[2]}, {folders[3]})" in out
    assert "- 3O: two sounds in sequence, order alone" in out and "- 2A" not in out
    assert "tuning=full: Verdict: order was learned" in out


def test_seeds_alone_are_one_method_whose_column_is_as_before(tmp_path: Path) -> None:
    history = [STAGE_A | {"settings": {"seed": seed, "groups_seed": seed}, "seed": seed} for seed in (1, 2)]
    folders = [
        write_finished(tmp_path / f"{i}", BASE, BASE, seed=i, history=[stage], settings={"groups_seed": i})
        for i, stage in enumerate(history)
    ]
    table, found = compare_runs(folders)
    assert table.columns == ("chance", "n", "before", "after", "difference")
    (method,) = found["methods"].values()
    assert method["runs"][str(folders[1])] == {"seed": 1, "groups_seed": 1, "history": [2]}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (record(), record({"learning_rate": 5e-5, "tuning": "full", "audio_blocks": 1, "lr_scheduler_type": "linear"})),
        (record({"seed": 1, "report_to": "none"}), record({"seed": 2, "run_name": "x", "hub_model_id": "a/b"}, seed=2)),
        (record({"cache_prefix": False, "mini_batch_groups": 4}), record({"dataloader_num_workers": 2})),
        (record({"eval_strategy": "epoch", "eval_groups": 20}), record({"save_strategy": "epoch"})),
        (record({"model": "/a/base", "data_dir": "/a/ESC-50"}), record({"model": "b/base", "data_dir": "b/ESC-50"})),
        (record({"retention": 2}), record({"retention": 2.0})),
        (record(started_from="runs/a"), record(started_from="runs/b")),
    ],
)
def test_one_method(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert method_of(one) == method_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (record(), record({"learning_rate": 1e-4})),
        (record(), record({"a_flag_of_a_later_version": 1})),
        (record(), record(stage="stage_a")),
        (record(), record(base_name="laion/x")),
        (record(), record(source_name="soundbank")),
        (record(), record(pairs_name="mine")),
        (record(), record(folds={"train": [1, 2]})),
        (record(), record(processes=4)),  # of a batch each
        (record(), record(history=[STAGE_A])),
        (record(history=[STAGE_A]), record(history=[STAGE_A | {"settings": {"n_groups": 4}}])),
        (
            record({"load_best_model_at_end": True, "eval_groups": 20}),
            record({"load_best_model_at_end": True, "eval_groups": 40}),
        ),
    ],
)
def test_another_method(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert method_of(one) != method_of(other)


def test_long_names_become_numbers_with_a_key(tmp_path: Path) -> None:
    a = write_finished(tmp_path / "a", BASE, BASE, history=[STAGE_A], settings={"learning_rate": 1e-4})
    b = write_finished(tmp_path / "b", BASE, BASE, history=[STAGE_A | {"settings": {"n_groups": 40}}])
    c = write_finished(tmp_path / "c", BASE, BASE)
    table, _ = compare_runs([a, b, c])
    assert table.columns[3:6] == ("method 1", "method 2", "method 3")
    # what stage A was is said of those that went through it
    assert table.notes[:3] == [
        f"- method 1: learning_rate=0.0001, start=stage_a, stage_a.n_groups=2000; seed 1 ({a})",
        f"- method 2: learning_rate=0.001, start=stage_a, stage_a.n_groups=40; seed 1 ({b})",
        f"- method 3: learning_rate=0.001, start=base; seed 1 ({c})",
    ]


def test_what_cannot_be_compared_is_named(tmp_path: Path) -> None:
    ours = write_finished(tmp_path / "ours", BASE, BASE)
    fewer = {task: right[:100] for task, right in BASE.items()}
    for name, run, message in (
        ("base", {"before": BASE, "base_name": "laion/x"}, "have different bases, clap-mini and laion/x"),
        ("items", {"before": fewer}, "were judged on different items"),
        ("answers", {"before": answers(np.random.default_rng(5))}, "answered differently"),
    ):
        before = run.pop("before")
        other = write_finished(tmp_path / name, before, before, **run)
        with pytest.raises(DataError, match=f"{ours} and {other} .*{message}|{message}") as raised:
            compare_runs([ours, other])
        assert f"{ours} and {other}" in str(raised.value)
    with pytest.raises(ConfigError, match="is named twice"):
        compare_runs([ours, tmp_path / "base" / ".." / "ours"])
    (ours / "run.json").unlink()
    with pytest.raises(NotFoundError, match=r"ours holds no run\.json; name folders of finished runs"):
        compare_runs([ours])


def test_a_run_that_may_be_there_twice_is_called_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    a, b, c = (write_finished(tmp_path / name, BASE, BASE, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2)))
    with caplog.at_level(logging.WARNING):
        compare_runs([a, c])
        assert not caplog.records
        compare_runs([a, b])
    assert f"{a}, {b} have seeds in common" in caplog.text
