"""ZSTE as a metric of the Hub: the Space that `evaluate.load` reads."""

import shlex
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import SpaceCardData

from teminal_hf.errors import ConfigError
from teminal_hf.evaluation import zste
from teminal_hf.hub.cards import CARD, CITATION, GRADIO_VERSION, METRIC, PAPER, render_card
from teminal_hf.hub.push import push_folder
from teminal_hf.storage.packaged import cards_folder

FILES = ("zste.py", CARD, "app.py", "requirements.txt")


def push_metric(name: str, *, private: bool | None = None) -> str:
    """Push metric, card and page as the Space `name`, in one commit; returns its address.

    Raises:
        ConfigError: a name that `evaluate.load` would not find zste.py under.
        PushError: as `push_folder`.
    """
    if name.split("/")[-1] != "zste":
        raise ConfigError(f"evaluate.load looks for zste.py in a Space called zste: NAME/zste, not {name}")
    command = ["teminal", "metric", "push", "--to", name, *(["--private"] if private else [])]
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(cards_folder() / "zste", folder, dirs_exist_ok=True)
        shutil.copy(zste.__file__, folder)

        def write_card(full_name: str) -> None:
            (Path(folder) / CARD).write_text(metric_card(full_name), encoding="utf-8")

        return push_folder(
            folder,
            name,
            "space",
            FILES,
            retry=f"Try again with: {shlex.join(command)}",
            private=private,
            space_sdk="gradio",
            prepare=write_card,
        )


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
        citation=CITATION.strip(),
    )
