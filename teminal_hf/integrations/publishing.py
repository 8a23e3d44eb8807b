"""The metrics on the Hub: the Spaces that `evaluate.load` reads."""

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import SpaceCardData

from teminal_hf.errors import ConfigError
from teminal_hf.evaluation import zste
from teminal_hf.hub.cards import CARD, CITATION, GRADIO_VERSION, METRIC, ORDER_METRIC, PAPER, render_card
from teminal_hf.hub.push import push_folder
from teminal_hf.integrations.load_by_name import METRIC_FILES
from teminal_hf.storage.packaged import cards_folder


def push_metric(name: str, *, private: bool | None = None) -> str:
    """Push the metric that `name` ends in, with card and page, as the Space `name`, in one commit; returns its address.

    Raises:
        ConfigError: a name that `evaluate.load` would not find a metric under.
        PushError: as `push_folder`.
    """
    metric = name.split("/")[-1]
    if metric not in METRIC_FILES:
        raise ConfigError(
            "evaluate.load looks for zste.py in a Space called zste, and for clap_order.py in one called clap_order: "
            f"NAME/zste or NAME/clap_order, not {name}"
        )
    command = ["teminal", "metric", "push", "--to", name, *(["--private"] if private else [])]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(cards_folder() / metric, folder, dirs_exist_ok=True)
        shutil.copy(METRIC_FILES[metric], folder)

        def write_card(full_name: str) -> None:
            (Path(folder) / CARD).write_text(_CARDS[metric](full_name), encoding="utf-8")

        return push_folder(
            folder,
            name,
            "space",
            (METRIC_FILES[metric].name, CARD, "app.py", "requirements.txt"),
            retry=f"Try again with: {shlex.join(command)}",
            private=private,
            space_sdk="gradio",
            prepare=write_card,
        )


def metric_card(repo_id: str = METRIC) -> str:
    """README.md of ZSTE's Space."""
    return _card(
        repo_id,
        "metric.md.jinja",
        ("ZSTE", "zero-shot", "Does an audio-language model hear order?"),
        tasks=zste.TASKS,
        two_right=[task for task in zste.TASKS if task in zste.TWO_RIGHT],
        temporal_tasks=zste.TEMPORAL_TASKS,
        order_tasks=zste.ORDER_TASKS,
    )


def order_metric_card(repo_id: str = ORDER_METRIC) -> str:
    """README.md of clap_order's Space."""
    about = ("CLAP order", "text-to-audio", "Does generated audio keep its caption's order?")
    return _card(repo_id, "clap_order.md.jinja", about)


def _card(repo_id: str, template: str, about: tuple[str, str, str], **facts: Any) -> str:
    """`about`: title, a tag beside those of all, and a short description."""
    title, tag, description = about
    data = SpaceCardData(
        title=title,
        sdk="gradio",
        sdk_version=GRADIO_VERSION,
        app_file="app.py",
        pinned=False,
        license="apache-2.0",
        tags=["evaluate", "metric", "audio", "clap", tag],
        short_description=description,
    )
    return render_card(template, data, repo_id=repo_id, paper=PAPER, citation=CITATION.strip(), **facts)


_CARDS = {"zste": metric_card, "clap_order": order_metric_card}
