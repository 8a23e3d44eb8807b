"""`teminal evaluate`."""

import argparse
import logging
from dataclasses import fields
from pathlib import Path

from teminal_hf.clips.sources import ClipSource
from teminal_hf.commands.clips import add_clip_arguments, clip_source
from teminal_hf.data.captions import ORDER_FAMILIES
from teminal_hf.data.zste_items import EDITIONS, PROMPT, ZSTE_TASKS
from teminal_hf.evaluation.tables import FORMATS
from teminal_hf.order_tests.readers import READERS
from teminal_hf.order_tests.tacos import MARGIN

logger = logging.getLogger(__name__)

_OF_ZSTE = (
    "folds",
    "groups",
    "tasks",
    "edition",
    "prompt",
    "known",
    "known_names",
    "wordings",
    "families",
    "retrieval",
    "seed",
)


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
    public = parser.add_argument_group("a public test of order, in place of ZSTE")
    public.add_argument("--test", choices=READERS, help="which; docs/order-tests.md says where to get each")
    public.add_argument("--test_dir", type=Path, metavar="DIR", help="its folder, as distributed")
    public.add_argument(
        "--margin",
        type=float,
        metavar="SECONDS",
        help=f"tacos: seconds between one sound's end and another's begin (default: {MARGIN})",
    )
    add_clip_arguments(parser)
    flags = (*_OF_ZSTE, *(field.name for field in fields(ClipSource)))
    parser.set_defaults(run_command=_evaluate, of_zste={flag: parser.get_default(flag) for flag in flags})


def _evaluate(arguments: argparse.Namespace) -> None:
    if arguments.test or arguments.test_dir or arguments.margin is not None:
        _order_test(arguments)
    else:
        _zste(arguments)


def _zste(arguments: argparse.Namespace) -> None:
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


def _order_test(arguments: argparse.Namespace) -> None:
    from teminal_hf.integrations.encoders import load_encoder
    from teminal_hf.order_tests.report import comparison_table, results_table, to_json
    from teminal_hf.order_tests.running import audible, check_comparable, run_order_test
    from teminal_hf.storage.atomic import check_writable, write_json

    _check_order_flags(arguments)
    if arguments.json:
        check_writable(arguments.json)
    options = {} if arguments.margin is None else {"margin": arguments.margin}
    test = audible(READERS[arguments.test](arguments.test_dir, **options))
    names = [arguments.model]
    if arguments.base is not None:
        check_comparable(test)
        names.insert(0, arguments.base)
    reports = [run_order_test(test, load_encoder(name)) for name in names]
    table = results_table(test, reports[0]) if arguments.base is None else comparison_table(test, names, reports)
    print(table.written(arguments.format))
    if arguments.json:
        write_json(arguments.json, {name: to_json(test, r) for name, r in zip(names, reports, strict=True)})


def _check_order_flags(arguments: argparse.Namespace) -> None:
    from teminal_hf.errors import ConfigError

    if not (arguments.test and arguments.test_dir):
        raise ConfigError("a public test needs both --test NAME and --test_dir DIR; --margin is tacos's")
    if arguments.margin is not None and arguments.test != "tacos":
        raise ConfigError(f"--margin is of --test tacos; {arguments.test} has no intervals to derive order from")
    if given := [f"--{flag}" for flag, default in arguments.of_zste.items() if getattr(arguments, flag) != default]:
        raise ConfigError(f"--test asks its own questions about its own recordings; leave out {', '.join(given)}")
