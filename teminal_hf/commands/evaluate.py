"""`teminal evaluate`."""

import argparse
import logging
from pathlib import Path

from teminal_hf.commands.clips import add_clip_arguments, clip_source
from teminal_hf.data.captions import ORDER_FAMILIES
from teminal_hf.data.zste_items import EDITIONS, PROMPT, ZSTE_TASKS
from teminal_hf.evaluation.tables import FORMATS

logger = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", help="checkpoint folder, Hub id, or clap-mini")
    parser.add_argument("--base", help="a second checkpoint to compare with, on the same items")
    parser.add_argument(
        "--folds", "--test_folds", type=int, nargs="+", help="default: the last; never evaluate on folds trained on"
    )
    parser.add_argument("--groups", type=int, help="default: one per clip")
    tasks = parser.add_mutually_exclusive_group()
    tasks.add_argument("--tasks", nargs="+", choices=ZSTE_TASKS, help="only these")
    tasks.add_argument("--edition", type=int, choices=EDITIONS, default=max(EDITIONS), help="of ZSTE (the last)")
    parser.add_argument("--prompt", default=PROMPT, help="of class names in tasks 1 and 2")
    parser.add_argument(
        "--known", nargs="+", action="extend", default=[], help="further folders or data sets of sounds, for R0"
    )
    parser.add_argument("--known_names", nargs="+", help="R0's candidate names for these (default: their own classes)")
    parser.add_argument(
        "--wordings", action="store_true", help="order and overlap in every phrasing there is, in place of the tasks"
    )
    parser.add_argument(
        "--families", nargs="+", choices=ORDER_FAMILIES, metavar="FAMILY", help="of wordings, asked apart as task 8"
    )
    parser.add_argument(
        "--retrieval", action="store_true", help="also R@1, R@5, R@10 and mAP@10, captions of recordings and back"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--format", choices=FORMATS, default="markdown", help="of the table; csv: fractions, no legend")
    parser.add_argument("--json", type=Path, help="write results and every item's score here")
    add_clip_arguments(parser)
    parser.set_defaults(run_command=_evaluate)


def _evaluate(arguments: argparse.Namespace) -> None:
    from teminal_hf.clips.folds import split_folds
    from teminal_hf.data.rendering import RenderSettings
    from teminal_hf.data.zste_items import plan_wordings
    from teminal_hf.errors import ConfigError
    from teminal_hf.evaluation.evaluator import ZsteEvaluator
    from teminal_hf.evaluation.known import evaluation, further_clips
    from teminal_hf.evaluation.report import (
        compare_reports,
        comparison_table,
        results_table,
        to_json,
        wordings_table,
    )
    from teminal_hf.integrations.encoders import load_encoder
    from teminal_hf.runs.lineage import left_out_families, trained_connectives
    from teminal_hf.runs.run_folder import left_out, read_record
    from teminal_hf.storage.atomic import check_writable, write_json

    if arguments.base is not None and arguments.groups == 1:
        raise ConfigError("groups must be at least 2 for a comparison: its intervals are over clips")
    if arguments.json:
        check_writable(arguments.json)
    source = clip_source(arguments)
    if arguments.known_names and not arguments.known:
        raise ConfigError("--known_names are candidates for further sounds; name their folder or data set by --known")
    if arguments.wordings and arguments.known:
        raise ConfigError("--wordings asks about order alone; leave out --known")
    clips = source.load()
    folds = arguments.folds or split_folds(clips)["test"]
    clips = clips.in_folds(folds)
    record = read_record(arguments.model)
    seen = set(record.get("folds", {}).get("train", ())) & set(folds)
    if seen:
        logger.warning("%s was trained on fold(s) %s: these figures flatter it", arguments.model, sorted(seen))
    kept_out = sorted(left_out(record))  # of the training; R0 asks these apart
    further = further_clips(arguments.known, source, arguments.known_names)
    names = [arguments.model] if arguments.base is None else [arguments.base, arguments.model]
    asked, reports = {}, []
    for name in names:
        encoder = load_encoder(name)
        usable = clips.usable(encoder.sampling_rate)
        evaluator = ZsteEvaluator(
            usable,
            RenderSettings.of(encoder),
            n_groups=arguments.groups,
            seed=arguments.seed,
            tasks=arguments.tasks or EDITIONS[arguments.edition],
            prompt=arguments.prompt,
            families=arguments.families or left_out_families(record),
            retrieval=arguments.retrieval,
            items=plan_wordings(usable, n_groups=arguments.groups, seed=arguments.seed) if arguments.wordings else None,
        )
        if arguments.wordings:
            asked[name] = evaluator(encoder)
            reports.append(to_json(asked[name]))
            continue
        apart = [label for label in kept_out if label in usable.classes]
        reports.append(to_json(evaluation(evaluator, further, arguments.known_names, apart)(encoder)))
    if arguments.wordings:
        table = wordings_table(asked, trained_connectives(record))
    elif arguments.base is None:
        table = results_table(reports[0]["results"])
    else:
        table = comparison_table({arguments.model: compare_reports(reports[0], reports[1:])}, before=arguments.base)
    print(table.written(arguments.format))
    if arguments.json:
        write_json(arguments.json, dict(zip(names, reports, strict=True)))
