"""`teminal evaluate | rank | compare`."""

import argparse
import json
import logging
from pathlib import Path
from typing import Any

from teminal_hf.commands.clips import add_clip_arguments, clips_of
from teminal_hf.data.builder import split_folds
from teminal_hf.data.zste_items import PROMPT, ZSTE_TASKS
from teminal_hf.evaluation.evaluator import ZsteEvaluator, rank
from teminal_hf.evaluation.report import compare, format_table, to_json
from teminal_hf.models.checkpoint import CLAP_MINI, load_clap
from teminal_hf.runs.run_folder import read_record, write_json

logger = logging.getLogger(__name__)


def register(commands: Any) -> None:
    evaluate = commands.add_parser("evaluate", help="run a checkpoint through ZSTE")
    evaluate.add_argument("model", help=f"checkpoint folder, Hub id, or {CLAP_MINI}")
    evaluate.add_argument("--base", help="a second checkpoint to compare with, on the same items")
    add_clip_arguments(evaluate)
    evaluate.add_argument("--folds", type=int, nargs="+", help="default: the last; never evaluate on folds trained on")
    evaluate.add_argument("--groups", type=int, help="default: one per clip")
    evaluate.add_argument("--tasks", nargs="+", choices=ZSTE_TASKS, default=list(ZSTE_TASKS))
    evaluate.add_argument("--prompt", default=PROMPT, help="of class names in tasks 1 and 2")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--json", type=Path, help="write results and every item's score here")
    evaluate.set_defaults(run_command=_evaluate)

    ranking = commands.add_parser("rank", help="which caption fits a sound?")
    ranking.add_argument("sound", help="an audio file")
    ranking.add_argument("captions", nargs="+")
    ranking.add_argument("--model", default=CLAP_MINI, help=f"checkpoint folder, Hub id, or {CLAP_MINI} (default)")
    ranking.set_defaults(run_command=_rank)

    comparing = commands.add_parser("compare", help="one table of finished runs that differ in their seed")
    comparing.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    comparing.add_argument("--json", type=Path, help="write the table here")
    comparing.set_defaults(run_command=_compare)


def _evaluate(arguments: argparse.Namespace) -> None:
    clips = clips_of(arguments)
    folds = arguments.folds or split_folds(clips)["test"]
    clips = clips.in_folds(folds)
    seen = set(read_record(arguments.model).get("folds", {}).get("train", ())) & set(folds)
    if seen:
        logger.warning("%s was trained on fold(s) %s: these figures flatter it", arguments.model, sorted(seen))
    names = [arguments.model] if arguments.base is None else [arguments.base, arguments.model]
    reports = []
    for name in names:
        model, processor = load_clap(name)
        usable = clips.usable(processor.feature_extractor.sampling_rate)
        evaluator = ZsteEvaluator(
            usable,
            processor,
            n_groups=arguments.groups,
            seed=arguments.seed,
            tasks=arguments.tasks,
            prompt=arguments.prompt,
        )
        reports.append(to_json(evaluator(model)))
    if arguments.base is not None:
        rows = compare(reports[0], reports[1:])
        print(format_table(rows, *names))
    else:
        print("| task | chance | n | accuracy | 95 % interval |\n| --- | ---: | ---: | ---: | --- |")
        for task, row in reports[0]["results"].items():
            if isinstance(row, dict):
                low, high = (100 * bound for bound in row["ci95"])
                figures = (
                    f"{100 * row['chance']:.1f} | {row['n']} | {100 * row['accuracy']:.1f} | {low:.1f} to {high:.1f}"
                )
                print(f"| {task} | {figures} |")
            else:
                print(f"| {task} | | | {100 * row:.1f} | |")
    if arguments.json:
        write_json(arguments.json, dict(zip(names, reports, strict=True)))


def _rank(arguments: argparse.Namespace) -> None:
    model, processor = load_clap(arguments.model)
    ranking = rank(model, processor, arguments.sound, arguments.captions)
    if ranking.windows > 1:
        window = processor.feature_extractor.max_length_s
        print(f"longer than {window} s: heard through {ranking.windows} evenly spaced windows, averaged")
    for caption, similarity in ranking.captions:
        print(f"{similarity:+.3f}  {caption}")


def _compare(arguments: argparse.Namespace) -> None:
    reports = []
    for run in arguments.runs:
        path = run / "zste.json"
        if not path.is_file():
            raise FileNotFoundError(f"{run} holds no zste.json; name folders of finished runs")
        reports.append(json.loads(path.read_text(encoding="utf-8")))
    if any(report["before"]["items"] != reports[0]["before"]["items"] for report in reports):
        raise ValueError("the runs have different bases, or were judged on different items")
    rows = compare(reports[0]["before"], [report["after"] for report in reports])
    print(format_table(rows))
    if arguments.json:
        write_json(arguments.json, rows)
