"""The `teminal` command: train, evaluate, rank, compare, cache."""

import argparse
import json
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

from teminal_hf import cache, recipe
from teminal_hf.dataset import split_folds
from teminal_hf.evaluation import ZsteEvaluator, rank
from teminal_hf.models import CLAP_MINI, load_clap
from teminal_hf.report import compare, format_table, to_json
from teminal_hf.run_folder import read_record, write_json
from teminal_hf.sources import load_clips
from teminal_hf.tasks import PROMPT, ZSTE_TASKS

logger = logging.getLogger(__name__)

RECIPES = ("stage_a", "stage_b", "plain_pairs")


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="teminal", description="Post-train CLAP models to hear order, and measure it."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    train = commands.add_parser("train", help="run a recipe", add_help=False)
    train.add_argument("recipe", choices=RECIPES)
    train.add_argument("arguments", nargs=argparse.REMAINDER, help="[CONFIG.yaml] [--flag value ...]")
    train.set_defaults(run=_train)

    evaluate = commands.add_parser("evaluate", help="run a checkpoint through ZSTE")
    evaluate.add_argument("model", help=f"checkpoint folder, Hub id, or {CLAP_MINI}")
    evaluate.add_argument("--base", help="a second checkpoint to compare with, on the same items")
    evaluate.add_argument("--data_dir", help="ESC-50 folder, with audio/ and meta/")
    evaluate.add_argument("--source", help='"soundbank" (default without --data_dir), or a Hub or local data set')
    evaluate.add_argument("--audio_column", default="audio")
    evaluate.add_argument("--label_column", default="category")
    evaluate.add_argument("--fold_column", default="fold")
    evaluate.add_argument("--folds", type=int, nargs="+", help="default: the last; never evaluate on folds trained on")
    evaluate.add_argument("--groups", type=int, help="default: one per clip")
    evaluate.add_argument("--tasks", nargs="+", choices=ZSTE_TASKS, default=list(ZSTE_TASKS))
    evaluate.add_argument("--prompt", default=PROMPT, help="of class names in tasks 1 and 2")
    evaluate.add_argument("--seed", type=int, default=0)
    evaluate.add_argument("--json", type=Path, help="write results and every item's score here")
    evaluate.set_defaults(run=_evaluate)

    ranking = commands.add_parser("rank", help="which caption fits a sound?")
    ranking.add_argument("sound", help="an audio file")
    ranking.add_argument("captions", nargs="+")
    ranking.add_argument("--model", default=CLAP_MINI, help=f"checkpoint folder, Hub id, or {CLAP_MINI} (default)")
    ranking.set_defaults(run=_rank)

    comparing = commands.add_parser("compare", help="one table of finished runs that differ in their seed")
    comparing.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    comparing.add_argument("--json", type=Path, help="write the table here")
    comparing.set_defaults(run=_compare)

    caching = commands.add_parser("cache", help="decoded clips and frozen prefixes that runs left on disk")
    actions = caching.add_subparsers(dest="action", required=True)
    info = actions.add_parser("info", help="what is there, where, and how much it takes")
    info.set_defaults(run=_cache_info)
    clear = actions.add_parser("clear", help="remove it")
    clear.add_argument("kind", nargs="?", choices=cache.KINDS, help="only these (default: all)")
    clear.set_defaults(run=_cache_clear)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `teminal`. What a user can mend ends with its message alone and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    arguments = build_parser().parse_args(argv)
    try:
        arguments.run(arguments)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")


def _train(arguments: argparse.Namespace) -> None:
    recipe.main(arguments.recipe, arguments.arguments, recipes_folder() / f"{arguments.recipe}.yaml")


def recipes_folder() -> Path:
    """Where the recipes lie: inside an installed package, beside it in a checkout."""
    package = Path(__file__).parent
    return next(folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir())


def _evaluate(arguments: argparse.Namespace) -> None:
    clips = load_clips(
        arguments.source,
        arguments.data_dir,
        audio_column=arguments.audio_column,
        label_column=arguments.label_column,
        fold_column=arguments.fold_column,
    )
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


def _cache_info(arguments: argparse.Namespace) -> None:
    entries = cache.entries()
    for entry in entries:
        print(f"{entry.n_bytes / 2**20:9.1f} MiB  {entry.kind:6}  {entry.key}  {entry.what}")
    print(f"{sum(entry.n_bytes for entry in entries) / 2**20:9.1f} MiB in {len(entries)} entries, {cache.cache_root()}")


def _cache_clear(arguments: argparse.Namespace) -> None:
    freed = cache.clear((arguments.kind,) if arguments.kind else cache.KINDS)
    print(f"freed {freed / 2**20:.1f} MiB in {cache.cache_root()}")


if __name__ == "__main__":
    main()
