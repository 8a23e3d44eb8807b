"""The page to try a model on as a Space of the Hub."""

import json
import shlex
import shutil
import tempfile
from pathlib import Path

from huggingface_hub import SpaceCardData

import teminal_hf
from teminal_hf.errors import ConfigError
from teminal_hf.hub.cards import GRADIO_VERSION, render_card
from teminal_hf.hub.push import push_folder
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.storage.packaged import cards_folder
from teminal_hf.tools.page import TITLE

_MANAGED = ["teminal_hf/*", "teminal_hf/*/*", "teminal_hf/*/*/*"]


def push_space(name: str, model: str, base: str) -> str:
    """Push the page that compares two checkpoints of the Hub, in one commit; returns its address.

    Raises:
        ConfigError: a checkpoint that is on this machine.
        PushError: as `push_folder`.
    """
    _check_on_hub(model, base)
    retry = f"Try again with: {shlex.join(['teminal', 'demo', '--push', name, '--model', model, '--base', base])}"
    with tempfile.TemporaryDirectory(prefix="teminal-space-") as folder:
        stage_space(Path(folder), model, base)
        return push_folder(folder, name, "space", ["**/*"], retry=retry, managed=_MANAGED, space_sdk="gradio")


def _check_on_hub(*checkpoints: str) -> None:
    for checkpoint in checkpoints:
        if checkpoint != CLAP_MINI and Path(checkpoint).exists():
            raise ConfigError(
                f"a Space cannot read {checkpoint}, which is on this machine: push it first (teminal push {checkpoint} "
                "--to USER/NAME), and give its name on the Hub to --model or --base"
            )


def stage_space(folder: Path, model: str, base: str) -> None:
    """Everything a Space needs, in `folder`: app, card, requirements, which models, and this package itself, so that it
    need not be installed."""
    for name in ("app.py", "requirements.txt"):
        shutil.copy(cards_folder() / "space" / name, folder / name)
    package = Path(teminal_hf.__file__).parent
    shutil.copytree(package, folder / "teminal_hf", ignore=shutil.ignore_patterns("__pycache__", ".*"))
    (folder / "models.json").write_text(json.dumps({"model": model, "base": base}) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(space_card(model, base), encoding="utf-8")


def space_card(model: str, base: str) -> str:
    """README.md of the Space."""
    data = SpaceCardData(
        title=TITLE,
        emoji="⏱️",
        colorFrom="indigo",
        colorTo="green",
        sdk="gradio",
        sdk_version=GRADIO_VERSION,
        python_version="3.11",
        app_file="app.py",
        pinned=False,
        license="apache-2.0",
        short_description="Does a CLAP model hear which sound came first?",
        models=[checkpoint for checkpoint in (model, base) if checkpoint != CLAP_MINI],
        tags=["audio", "clap", "temporal"],
    )
    return render_card("space.md.jinja", data, model=model, base=base, clap_mini=CLAP_MINI)
