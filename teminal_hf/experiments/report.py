"""The report of experiments, from what is kept of their runs alone: README.md, summary.json and a picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from teminal_hf.errors import DataError, NotFoundError
from teminal_hf.evaluation.legend import FAMILY, KNOWN, legend, meaning_of, single_sounds
from teminal_hf.evaluation.report import compare_reports
from teminal_hf.evaluation.tables import Cell, Figure, Table, line
from teminal_hf.experiments.forest import forest
from teminal_hf.experiments.results import read_results
from teminal_hf.experiments.suite import SEARCH
from teminal_hf.runs.settings import SEEDS
from teminal_hf.runs.yaml_file import read_mapping
from teminal_hf.storage.atomic import write_json, written_whole

RESULTS, CLAIMS, PAGE, SUMMARY, PICTURE = "results", "claims.yaml", "README.md", "summary.json", "forest.svg"
_TASKS = ("2A", "2C", "3O", "G", "5B", "temporal_average")  # beside those of single sounds
_HEADLINE = {
    KNOWN: "what was known, single sounds in five prompts and both paddings",
    "1": "which single sound?",
    "2A": "which two sounds?",
    "3A": "before, after or while?",
    "3O": "which came first?",
    "G": "two recordings, two captions, all right",
    "temporal_average": "mean of ten tasks about two sounds",
}
_NOT_MEASURED = "not measured"
_ROUNDING = 0.02  # share of the answers
_KEPT = ("chance", "n", "base_accuracy", "post_accuracy", "post_seeds", "difference", "ci95", "p_value")


def write_report(folder: Path) -> None:
    """Make `README.md`, `summary.json` and `forest.svg` in `folder` from its `results/` and `claims.yaml`.

    Raises:
        NotFoundError: nothing is kept there yet.
        DataError: the results are not of one base and one set of items.
    """
    results = read_results(folder / RESULTS)
    if not results:
        raise NotFoundError(f"no results in {folder / RESULTS} yet: run a suite first, recipes/experiments.py SUITE")
    summary = summarise(results)
    claims = read_mapping(folder / CLAIMS).get("claims", []) if (folder / CLAIMS).is_file() else []
    texts = {PAGE: _page(summary, claims), PICTURE: forest(summary["variants"], _shown(summary))}
    write_json(folder / SUMMARY, summary)
    for name, text in texts.items():
        with written_whole(folder / name) as draft:
            draft.write_text(text, encoding="utf-8")


def headline(summary: Mapping[str, Any], variant: str) -> Table:
    """A short table of one variant against the base, for pages that show a result and not all of them.

    Raises:
        NotFoundError: the summary does not have it.
    """
    if variant not in summary["variants"]:
        raise NotFoundError(f"no results of {variant}; there are {', '.join(summary['variants']) or 'none'}")
    found = summary["variants"][variant]["tasks"]
    meanings = {KNOWN: _HEADLINE[KNOWN], **{task: meaning_of(task) for task in single_sounds(found)}, **_HEADLINE}
    rows: dict[str, list[Cell]] = {}
    for task, row in ((task, found[task]) for task in meanings if task in found and task != "1_tiled"):
        difference = Figure(row["difference"], row["ci95"], signed=True)
        chance = None if row["chance"] is None else Figure(row["chance"])
        rows[f"{task}: {meanings[task]}"] = [
            chance,
            Figure(row["base_accuracy"]),
            Figure(row["post_accuracy"]),
            difference,
        ]
    return Table(("chance", "before", "after", "difference"), rows)


def summarise(results: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The variants, seeds averaged, each against the base on the same items; numbers rounded, so that they are the same
    whatever library adds them up."""
    _check_one_base(results)
    variants: dict[str, Any] = {}
    for name in dict.fromkeys(result["name"] for result in results):
        runs = [result for result in results if result["name"] == name]
        _check_one_method(runs)
        rows = compare_reports(runs[0]["before"], [run["after"] for run in runs])
        first = runs[0]
        variants[name] = {
            **{key: first[key] for key in ("suite", "about", "stage", "differences")},
            "after": [stage["stage"] for stage in first["history"]],
            "seeds": [run["seed"] for run in runs],
            "share": _rounded(first["share"]),
            "minutes": _rounded(sum(run["minutes"] for run in runs) / len(runs)),
            "tasks": {task: {key: _rounded(row[key]) for key in _KEPT} for task, row in rows.items()},
        }
    base: dict[str, Any] = {}
    for variant in variants.values():  # the first's, where rounding differs with the place of the split
        base = {task: row["base_accuracy"] for task, row in variant["tasks"].items()} | base
    facts = {key: results[0][key] for key in ("base", "source", "test_folds")}
    return {**facts, "base_accuracy": base, "variants": variants}


def _check_one_base(results: Sequence[Mapping[str, Any]]) -> None:
    """Of one base the answers to one item may differ with the place where the model is split, by rounding alone."""
    known: dict[str, tuple[Any, str]] = {}
    for result in results:
        name = f"{result['name']}, seed {result['seed']}"
        for task, row in result["before"]["items"].items():
            of_first, first = known.setdefault(task, (row, name))
            if result["base"] != results[0]["base"] or row["clips"] != of_first["clips"]:
                raise DataError(
                    f"{first} and {name} have different bases, or were judged on different items (task {task}); "
                    "a report is of one base and one set of items: remove the results that are not"
                )
            changed = sum(ours != theirs for ours, theirs in zip(row["right"], of_first["right"], strict=True))
            if changed > _ROUNDING * len(row["right"]):
                raise DataError(
                    f"the base of {first} and {name} answered {changed} items of task {task} differently, so it is not "
                    "the same checkpoint, or the recordings were made otherwise; remove the results that are not of it"
                )


def _check_one_method(runs: Sequence[Mapping[str, Any]]) -> None:
    first, *others = ({key: run[key] for key in ("suite", "stage", "differences")} | _method(run) for run in runs)
    if any(other != first for other in others):
        raise DataError(
            f"the seeds of {runs[0]['name']} had different settings; remove the results that are out of date"
        )


def _method(run: Mapping[str, Any]) -> dict[str, Any]:
    stages = [*run["history"], {"stage": run["stage"], "settings": run["settings"]}]
    left_out = (*SEEDS, "start_from")
    return {
        f"{i} {stage['stage']}": {key: value for key, value in stage["settings"].items() if key not in left_out}
        for i, stage in enumerate(stages)
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    return round(value, 6) + 0.0 if isinstance(value, float) else value


def _shown(summary: Mapping[str, Any]) -> list[str]:
    """The tasks of the table that there are."""
    found = summary["base_accuracy"]
    return [*single_sounds(found), *(task for task in _TASKS if task in found)]


def _page(summary: Mapping[str, Any], claims: Sequence[Mapping[str, Any]]) -> str:
    tasks, variants, folds = _shown(summary), summary["variants"], ", ".join(map(str, summary["test_folds"]))
    lines = [
        "# Experiments",
        "",
        f"{summary['base']} before and after post-training, on fold {folds} of {summary['source']}. Written by",
        "`recipes/experiments.py --report` from `results/` and `claims.yaml` alone; all figures are in",
        f"[{SUMMARY}]({SUMMARY}).",
        "",
    ]
    if claims:
        lines += ["## Against the paper", "", *_head("paper's claim", "theirs", "ours", "why they differ")]
        lines += [line([c["claim"], c["theirs"], _ours(c.get("ours"), variants), c.get("why", "")]) for c in claims]
        lines.append("")
    lines += ["## Variants", "", *_head("variant", "seeds", *tasks, "trained", "minutes", right=True)]
    lines.append(line(["base", "", *(str(Figure(summary["base_accuracy"][task])) for task in tasks), "", ""]))
    for name, variant in variants.items():
        cells = [_cell(variant["tasks"].get(task)) for task in tasks]
        seeds, share = ", ".join(map(str, variant["seeds"])), f"{Figure(variant['share'])} %"
        lines.append(line([name, seeds, *cells, share, f"{variant['minutes']:.0f}"]))
    lines += [
        "",
        "In a cell the mean over seeds, then the difference from the base and its interval. *Trained* is the share of",
    ]
    lines += ["parameters, *minutes* the training's, stages before it and the frozen prefix included.", ""]
    lines += [*legend(tasks, differences=True), "", f"![differences]({PICTURE})", ""]
    lines += _families(summary)
    lines += _search(variants, tasks)
    lines += ["## What they are", ""]
    for name, variant in variants.items():
        differs = ", ".join(f"`{key}: {value}`" for key, value in variant["differences"].items())
        stages = " after ".join([variant["stage"], *reversed(variant["after"])])
        lines.append(f"- **{name}** ({variant['suite']}, {stages}): {variant['about']}{differs and f'; {differs}'}")
    return "\n".join(lines) + "\n"


def _families(summary: Mapping[str, Any]) -> list[str]:
    """A table of the families of wordings, each asked of the variants that were asked about it; none, no table."""
    by_variant = {
        name: {task: row for task, row in variant["tasks"].items() if task.startswith(FAMILY)}
        for name, variant in summary["variants"].items()
    }
    by_variant = {name: rows for name, rows in by_variant.items() if rows}
    families = list(dict.fromkeys(task for rows in by_variant.values() for task in rows))
    if not families:
        return []
    lines = ["## Order in other words", "", *_head("variant", *(task.removeprefix(FAMILY) for task in families))]
    lines.append(line(["base", *(str(Figure(summary["base_accuracy"][task])) for task in families)]))
    lines += [line([name, *(_cell(rows.get(task)) for task in families)]) for name, rows in by_variant.items()]
    return [*lines, "", "As 3O, in the wordings of one family of `captions.py` each; what a family is, is there.", ""]


def _search(variants: Mapping[str, Any], tasks: Sequence[str]) -> list[str]:
    """Of the variants whose settings were drawn the best for each task; none, no table."""
    drawn = {name: variant for name, variant in variants.items() if name.startswith(SEARCH)}
    if not drawn:
        return []
    lines = ["## Best weights by task", "", *_head("task", "variant", "figure", "its settings")]
    for task in tasks:
        asked = [name for name, variant in drawn.items() if task in variant["tasks"]]
        if asked:
            best = max(asked, key=lambda name: drawn[name]["tasks"][task]["post_accuracy"])
            settings = ", ".join(f"{name} {value}" for name, value in drawn[best]["differences"].items())
            lines.append(line([task, best, _cell(drawn[best]["tasks"][task]), settings]))
    return [*lines, "", f"The best of {len(drawn)} each: a maximum, which flatters. All of them are above.", ""]


def _ours(asked: Mapping[str, Any] | None, variants: Mapping[str, Any]) -> str:
    """What a claim's `ours`, {variant: NAME, tasks: [TASK or share, ...]}, comes to."""
    if asked is None or asked["variant"] not in variants:
        return _NOT_MEASURED
    variant = variants[asked["variant"]]
    found = []
    for task in map(str, asked["tasks"]):
        row = variant["tasks"].get(task)
        if task == "share":
            found.append(f"{Figure(variant['share'])} %")
        elif row is not None:
            found.append(f"{task}: {Figure(row['base_accuracy'])} -> {_cell(row)}")
    return "; ".join(found) or _NOT_MEASURED


def _cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return ""
    return f"{Figure(row['post_accuracy'])} ({Figure(row['difference'], row['ci95'], signed=True)})"


def _head(*names: str, right: bool = False) -> list[str]:
    return [line(names), line(["---", *["---:" if right else "---"] * (len(names) - 1)])]
