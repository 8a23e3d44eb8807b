"""Controls: what becomes of ZSTE's questions of order when pairs are composed otherwise, and what must be at chance.

    python recipes/controls.py MODEL [--base BASE] [--data_dir ESC50] [--test_folds 4] [--groups N] [--json FILE]

Every row but the last asks the same groups. "overlays" asks of recordings of both sounds at once which came first:
there is no right answer, so that anything but chance would say that the composition betrays one. The last row asks
clips that the model was trained on, in other pairs: what a split over pairs, whose clips leak, would report. Without
`--base` the model is compared with what its own run.json names.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from teminal_hf.clips.folds import split_folds
from teminal_hf.commands.clips import add_clip_arguments, clip_source
from teminal_hf.commands.door import door
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.data.zste_items import plan_zste
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.evaluation.report import compare_reports, to_json
from teminal_hf.evaluation.tables import Figure, Table
from teminal_hf.models.checkpoint import load_clap
from teminal_hf.models.embed import ClapEncoder
from teminal_hf.models.stages import StagePolicy
from teminal_hf.runs.lineage import recorded_base
from teminal_hf.runs.run_folder import read_record
from teminal_hf.storage.atomic import write_json

TASKS = ("3A", "3O", "G")
COMPOSED: dict[str, dict[str, Any]] = {
    "as trained": {},
    "half a second of silence between": {"gap": 0.5},
    "half a second of cross-fade": {"crossfade": 0.5},
    "levels equal": {"level_range": 0.0},
    "levels up to 24 dB apart": {"level_range": 12.0},
    "silence around the sounds kept": {"trim": False},
}
OVERLAYS = "overlays, order asked"
LEAKY = "clips of the training folds, in other pairs"


def main(argv: Sequence[str]) -> None:
    """Print a table of controls, each before and after."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="post-trained checkpoint")
    parser.add_argument("--base", help="what it is compared with")
    parser.add_argument("--folds", "--test_folds", type=int, nargs="+", help="default: the last")
    parser.add_argument("--groups", type=int, help="default: one per clip")
    parser.add_argument("--json", type=Path, help="write figures and intervals here")
    add_clip_arguments(parser)
    arguments = parser.parse_args(argv)
    everything = clip_source(arguments).load()
    base, model = (
        ClapEncoder(*load_clap(name)) for name in (arguments.base or recorded_base(arguments.model), arguments.model)
    )
    everything = everything.usable(base.sampling_rate)
    clips = everything.in_folds(arguments.folds or split_folds(everything)["test"])
    items = plan_zste(clips, n_groups=arguments.groups, tasks=TASKS)
    overlays = [replace(item, views=("overlay",)) for item in items if item.task == "3O"]
    controls = [(name, how, clips, items) for name, how in COMPOSED.items()]
    controls.append((OVERLAYS, {}, clips, overlays))
    if trained := read_record(arguments.model).get("folds", {}).get("train"):
        leaked, n = everything.in_folds(trained), len({item.group_id for item in items})
        controls.append((LEAKY, {}, leaked, plan_zste(leaked, n_groups=n, tasks=TASKS)))
    found: dict[str, dict[str, Any]] = {}
    for name, how, table_of, items_of in controls:
        evaluator = ZsteEvaluator(table_of, RenderSettings.of(base, **how), items=items_of)
        before, after = (to_json(evaluator(each, StagePolicy().split_point)) for each in (base, model))
        found[name] = compare_reports(before, [after])
    print(table(found).markdown())
    if arguments.json:
        write_json(arguments.json, found)


def table(found: dict[str, dict[str, Any]]) -> Table:
    """A row for each control, and for each task what it was and what it is."""
    rows = {}
    for name, tasks in found.items():
        cells: list[str | None] = []
        for task in TASKS:
            row = tasks.get(task)
            cells += (
                [None]
                if row is None
                else [f"{Figure(row['base_accuracy'])} -> {Figure(row['post_accuracy'], row['post']['ci95'])}"]
            )
        rows[name] = cells
    notes = ["Percent, before and after, with Wilson's 95 % interval. Chance: 3A 33.3, 3O and overlays 50, G 16.7."]
    return Table(TASKS, rows, notes, of="composition")


if __name__ == "__main__":
    with door():
        main(sys.argv[1:])
