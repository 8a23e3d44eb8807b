"""`teminal push` and `teminal metric push`."""

import argparse
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import SpaceCardData

from teminal_hf.evaluation import zste
from teminal_hf.hub.cards import render_card
from teminal_hf.hub.push import make_repo, push_folder, push_run
from teminal_hf.runs.model_card import PAPER
from teminal_hf.storage.packaged import cards_folder
from teminal_hf.tools.page import GRADIO_VERSION

METRIC = "teminal/zste"


def register(commands: Any) -> None:
    push = commands.add_parser("push", help="publish a finished run on the Hub, or go on with a push that failed")
    push.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    _add_target(push, "its name on the Hub")
    push.add_argument("--revision", help="branch to push to (default: main)")
    push.set_defaults(run_command=_push)

    metric = commands.add_parser("metric", help="publish ZSTE as a metric")
    actions = metric.add_subparsers(dest="action", required=True)
    publish = actions.add_parser("push", help="as a Space that evaluate.load reads")
    _add_target(publish, "the Space's name, which must end in zste")
    publish.set_defaults(run_command=_push_metric)


def metric_card(repo_id: str = METRIC) -> str:
    """README.md of the metric's Space."""
    data = SpaceCardData(
        title="ZSTE",
        sdk="gradio",
        sdk_version=GRADIO_VERSION,
        app_file="app.py",
        pinned=False,
        license="apache-2.0",
        tags=["evaluate", "metric", "audio", "clap", "zero-shot"],
        short_description="Does an audio-language model hear order?",
    )
    return render_card(
        "metric.md.jinja",
        data,
        repo_id=repo_id,
        paper=PAPER,
        tasks=zste.TASKS,
        two_right=[task for task in zste.TASKS if task in zste.TWO_RIGHT],
        temporal_tasks=zste.TEMPORAL_TASKS,
        order_tasks=zste.ORDER_TASKS,
        citation=zste.CITATION.strip(),
    )


def _add_target(parser: argparse.ArgumentParser, help: str) -> None:
    parser.add_argument("--to", required=True, metavar="NAME", help=help)
    parser.add_argument("--private", action="store_true", default=None, help="if it has to be made")


def _push(arguments: argparse.Namespace) -> None:
    print(push_run(arguments.run, arguments.to, private=arguments.private, revision=arguments.revision))


def _push_metric(arguments: argparse.Namespace) -> None:
    if arguments.to.split("/")[-1] != "zste":
        raise ValueError(f"evaluate.load looks for zste.py in a Space called zste: NAME/zste, not {arguments.to}")
    command = ["teminal", "metric", "push", "--to", arguments.to, *(["--private"] if arguments.private else [])]
    name = make_repo(arguments.to, "space", private=arguments.private, space_sdk="gradio")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(cards_folder() / "zste", folder, dirs_exist_ok=True)
        shutil.copy(zste.__file__, folder)
        (Path(folder) / "README.md").write_text(metric_card(name), encoding="utf-8")
        files = ("zste.py", "README.md", "app.py", "requirements.txt")
        retry = f"Try again with: {shlex.join(command)}"
        address = push_folder(folder, name, "space", files, retry=retry, private=arguments.private, space_sdk="gradio")
    print(address)
