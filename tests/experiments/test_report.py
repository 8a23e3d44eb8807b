"""The report of experiments is made of small files alone, to the byte."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from support.finished_runs import answers, write_finished
from support.paths import RECIPES, ROOT
from teminal_hf.errors import DataError, NotFoundError
from teminal_hf.evaluation.legend import ROWS
from teminal_hf.evaluation.report import compare_reports
from teminal_hf.evaluation.retrieval import AUDIO_TO_TEXT, TEXT_TO_AUDIO
from teminal_hf.experiments import report
from teminal_hf.experiments.results import read_results, write_result
from teminal_hf.experiments.suite import Job, Variant, read_suite

BASE = answers(np.random.default_rng(0))
MADE = (report.PAGE, report.SUMMARY, report.PICTURE)
REPORTS = ROOT / "reports"


def keep(folder: Path, name: str, seed: int, skill: float, before: Any = BASE, **record: Any) -> dict[str, Any]:
    """Results of a made-up run, which is gone afterwards; what its figures were."""
    run = folder / "runs" / "mine" / name / f"seed-{seed}"
    place = int(name[-1])
    chosen = Variant("mine", place, name, f"number {place}", 1.0, "stage_b", None, "", (1,), {"beta": place}, {})
    facts = {"trained": {"count": 1, "total": 8, "share": 0.125}, "train_seconds": 90.0 * seed, "steps": 2} | record
    after = answers(np.random.default_rng(seed), len(before["1"]), t3O=skill)
    write_finished(run, before, after, seed=seed, versions={}, **({"settings": {"beta": place}} | facts))
    run.with_suffix(".log").write_text("this part took 1.5 s\nline\nthis part took 70.5 s\n")
    kept = write_result(Job(chosen, seed, run, {}), folder / report.RESULTS)
    figures = json.loads((run / "zste.json").read_text())
    shutil.rmtree(folder / "runs")
    assert kept["hours"] == pytest.approx(72 / 3600)
    return figures


@pytest.fixture
def kept(tmp_path: Path) -> tuple[Path, list[dict[str, Any]]]:
    figures = [keep(tmp_path, name, seed, skill) for name, skill in (("v1", 0.9), ("v0", 0.6)) for seed in (1, 2)]
    claim = {"claim": "order", "theirs": "1 | 2", "ours": {"variant": "v1", "tasks": ["3O", "9", "share"]}, "why": "so"}
    none = {"claim": "another", "theirs": "3", "ours": {"variant": "gone", "tasks": ["1"]}}
    (tmp_path / report.CLAIMS).write_text(yaml.safe_dump({"claims": [claim, none]}))
    return tmp_path, figures


def test_what_is_kept_is_small_and_whole(kept: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, figures = kept
    found = read_results(folder / report.RESULTS)
    assert [(one["name"], one["seed"]) for one in found] == [("v0", 1), ("v0", 2), ("v1", 1), ("v1", 2)]
    for one, whole in zip(found, [*figures[2:], *figures[:2]], strict=True):
        assert one["before"] == whole["before"] and one["after"] == whole["after"]
    assert all(path.stat().st_size < 10_000 for path in (folder / report.RESULTS).iterdir())


def test_scores_of_many_values_and_clips_of_their_own(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    figures = keep(tmp_path, "v0", 1, 0.5, {"1": rng.random(120), "3O": rng.random(120), "8": rng.random(120)})
    (one,) = read_results(tmp_path / report.RESULTS)
    assert one["before"] == figures["before"] and one["after"] == figures["after"]
    path = tmp_path / report.RESULTS / "v0-seed-1.json"
    path.write_text(path.read_text().replace('"right":"', '"right":"!', 1))
    with pytest.raises(DataError, match=r"v0-seed-1\.json is damaged.*the scores of task 1 do not fit its clips"):
        read_results(tmp_path / report.RESULTS)


def test_the_report_says_what_was_kept_and_is_the_same_again(kept: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, figures = kept
    report.write_report(folder)
    before = {name: (folder / name).read_bytes() for name in MADE}
    summary, page = json.loads(before[report.SUMMARY]), before[report.PAGE].decode()
    rows = compare_reports(figures[0]["before"], [one["after"] for one in figures[:2]])
    found = summary["variants"]["v1"]
    assert found["tasks"]["3O"]["difference"] == pytest.approx(rows["3O"]["difference"], abs=1e-6)
    assert found["tasks"]["3O"]["ci95"] == pytest.approx(rows["3O"]["ci95"], abs=1e-6)
    assert (found["seeds"], found["share"], found["minutes"]) == ([1, 2], 0.125, 2.25)
    assert list(summary["variants"]) == ["v0", "v1"]
    base, post = (f"{100 * rows['3O'][f'{side}_accuracy']:.1f}" for side in ("base", "post"))
    assert f"| order | 1 \\| 2 | 3O: {base} -> {post} (+" in page and "; 12.5 % | so |" in page
    assert "| another | 3 | not measured |  |" in page
    assert "- **v0** (mine, stage_b): number 0; `beta: 0`" in page
    assert before[report.PICTURE].count(b"<circle") == 4  # two variants in tasks 1 and 3O
    for name in MADE:
        (folder / name).unlink()
    report.write_report(folder)
    assert before == {name: (folder / name).read_bytes() for name in MADE}


def test_every_row_of_retention_is_shown(tmp_path: Path) -> None:
    keep(tmp_path, "v0", 1, 0.5)
    path = tmp_path / report.RESULTS / "v0-seed-1.json"
    path.write_text(path.read_text().replace('"8":', '"R0 foreign":'))
    report.write_report(tmp_path)
    assert "| variant | seeds | R0 foreign | 1 | 3O | trained | minutes |" in (tmp_path / report.PAGE).read_text()


def test_families_of_wordings_are_a_table_of_their_own(tmp_path: Path) -> None:
    for name, family in (("v0", "then"), ("v1", "until")):
        keep(tmp_path, name, 1, 0.5)
        path = tmp_path / report.RESULTS / f"{name}-seed-1.json"
        path.write_text(path.read_text().replace('"8":', f'"8 {family}":'))
    report.write_report(tmp_path)
    page, summary = (tmp_path / report.PAGE).read_text(), json.loads((tmp_path / report.SUMMARY).read_text())
    head, _, base, first, second = page.split("## Order in other words\n\n")[1].splitlines()[:5]
    assert head == "| variant | then | until |"
    accuracy = f"{100 * summary['base_accuracy']['8 then']:.1f}"
    assert base == f"| base | {accuracy} | {accuracy} |"
    assert first.startswith("| v0 | ") and first.endswith(") |  |") and second.startswith("| v1 |  | ")


def test_the_best_of_a_search_is_told_for_each_task(kept: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, _ = kept
    for path in (folder / report.RESULTS).iterdir():
        path.write_text(path.read_text().replace('"name":"v', '"name":"search_0'))
    (folder / report.CLAIMS).unlink()
    report.write_report(folder)
    table = (folder / report.PAGE).read_text().split("## Best weights by task\n\n")[1].split("\n\n")[0].splitlines()
    found = json.loads((folder / report.SUMMARY).read_text())["variants"]
    for row in table[2:]:
        task, best, _, settings = row.strip("| ").split(" | ")
        figures = {name: variant["tasks"][task]["post_accuracy"] for name, variant in found.items()}
        assert figures[best] == max(figures.values()) and settings == f"beta {best[-1]}"
    assert [row.split(" | ")[0] for row in table[2:]] == ["| 1", "| 3O"]


def test_the_headline_is_a_variants_figures_single_sounds_first(kept: tuple[Path, list[dict[str, Any]]]) -> None:
    folder, _ = kept
    for path in (folder / report.RESULTS).iterdir():
        path.write_text(path.read_text().replace('"8":', '"R0 farm":'))
    report.write_report(folder)
    summary = json.loads((folder / report.SUMMARY).read_text())
    table = report.headline(summary, "v1")
    assert [row.split(":")[0] for row in table.rows] == ["R0 farm", "1", "3O"]
    row = summary["variants"]["v1"]["tasks"]["3O"]
    ends = ", ".join(f"{100 * end:+.1f}" for end in row["ci95"])
    figures = f"50.0 | {100 * row['base_accuracy']:.1f} | {100 * row['post_accuracy']:.1f}"
    assert f"| 3O: which came first? | {figures} | {100 * row['difference']:+.1f} [{ends}] |" in table.markdown()
    with pytest.raises(NotFoundError, match="no results of v9; there are v0, v1"):
        report.headline(summary, "v9")


def test_nothing_to_report_and_what_does_not_belong_together(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no results in .* yet: run a suite first"):
        report.write_report(tmp_path)
    keep(tmp_path, "v0", 1, 0.5)
    other = answers(np.random.default_rng(7))
    fewer = {task: right[:50] for task, right in BASE.items()}
    for record, message in (
        ({"base_name": "laion/x"}, "v0, seed 1 and v1, seed 1 have different bases"),
        ({"before": fewer}, "judged on different items"),
        ({"before": other}, r"the base of v0, seed 1 and v1, seed 1 answered \d+ items of task"),
    ):
        keep(tmp_path, "v1", 1, 0.5, **record)
        with pytest.raises(DataError, match=message):
            report.write_report(tmp_path)
    (tmp_path / report.RESULTS / "v1-seed-1.json").unlink()
    keep(tmp_path, "v0", 2, 0.5, settings={"beta": 9})
    with pytest.raises(DataError, match="the seeds of v0 had different settings"):
        report.write_report(tmp_path)


def test_reports_that_are_committed_are_of_what_is_committed(tmp_path: Path) -> None:
    for page in REPORTS.glob(f"*/{report.PAGE}"):
        copy = tmp_path / page.parent.name
        shutil.copytree(page.parent, copy, ignore=shutil.ignore_patterns(*MADE))
        report.write_report(copy)
        assert all((copy / name).read_bytes() == (page.parent / name).read_bytes() for name in MADE)


@pytest.mark.parametrize("page", ["README.md", "docs/method.md", "recipes/esc50_base/README.md"])
def test_pages_show_what_the_report_found(page: str, regenerate_golden: bool) -> None:
    summary = json.loads((REPORTS / "esc50" / report.SUMMARY).read_text())
    text = (ROOT / page).read_text(encoding="utf-8")
    before, rest = text.split("<!-- headline: begin -->\n")
    _, after = rest.split("<!-- headline: end -->")
    table = report.headline(summary, "shipped").markdown()
    expected = f"{before}<!-- headline: begin -->\n\n{table}\n\n<!-- headline: end -->{after}"
    if regenerate_golden:
        (ROOT / page).write_text(expected, encoding="utf-8")
    assert text == expected or regenerate_golden, f"{page} is not of {report.SUMMARY}; pytest --regenerate-golden"


def test_claims_ask_for_what_there_is() -> None:
    ways = (AUDIO_TO_TEXT, TEXT_TO_AUDIO)
    retrieved = {f"{way} {figure}" for way in ways for figure in ("R@1", "R@5", "R@10", "mAP@10")}
    variants = {variant.name for variant in read_suite(RECIPES / "esc50_base" / "suites" / "core.yaml")}
    for claim in yaml.safe_load((REPORTS / "esc50" / report.CLAIMS).read_text())["claims"]:
        assert set(claim) <= {"claim", "theirs", "ours", "why"}
        if ours := claim.get("ours"):
            assert ours["variant"] in variants and set(ours["tasks"]) <= {*ROWS, "share", *retrieved}
