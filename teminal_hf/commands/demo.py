"""`teminal demo`: the page to try a model on, here or as a Space."""

import argparse
import json
import shlex
import shutil
import tempfile
from pathlib import Path
from typing import Any

from huggingface_hub import SpaceCardData, hf_hub_download

import teminal_hf
from teminal_hf.hub.cards import render_card
from teminal_hf.hub.push import push_folder
from teminal_hf.models.checkpoint import CLAP_MINI
from teminal_hf.runs.run_folder import RECORD, ROOT, is_complete, read_record
from teminal_hf.storage.packaged import cards_folder
from teminal_hf.tools import page as demo


def register(commands: Any) -> None:
    page = commands.add_parser("demo", help="a page in the browser: which caption do base and post-trained prefer?")
    page.add_argument("--model", help="post-trained checkpoint: folder or Hub id (default: the newest run in runs/)")
    page.add_argument("--base", help="what to compare it with (default: what its run.json says it started from)")
    page.add_argument("--port", type=int, help="of 127.0.0.1 (default: the first free one from 7860)")
    page.add_argument("--push", metavar="NAME", help="publish the page as this Space; needs a --model on the Hub")
    page.set_defaults(run_command=_demo)


def _demo(arguments: argparse.Namespace) -> None:
    model = arguments.model or str(newest_run())
    base = arguments.base or base_of(model)
    if base == model:
        raise ValueError(f"{model} would be compared with itself; name a post-trained checkpoint with --model")
    if arguments.push:
        _push(arguments.push, model, base)
    else:
        print(f"base: {base}, post-trained: {model}", flush=True)
        demo.serve(demo.build(model, base), arguments.port)


def base_of(model: str) -> str:
    """What the run.json beside a checkpoint, here or on the Hub, says it started from.

    Raises:
        ValueError: there is none, or it names a checkpoint that was on somebody's machine.
    """
    if model == CLAP_MINI:
        return CLAP_MINI
    base = read_record(model).get("base")
    if base is None and not Path(model).exists():
        try:
            base = json.loads(Path(hf_hub_download(model, RECORD)).read_text(encoding="utf-8"))["base"]
        except (OSError, ValueError, KeyError):  # no such model, or none of ours
            base = None
        base = base if base == CLAP_MINI or "/" in (base or "") else None  # else it was on somebody's machine
    if base is None:
        raise ValueError(f"nothing says what {model} was trained from: name a checkpoint to compare it with by --base")
    return str(base)


def newest_run() -> Path:
    """The run under `runs/` that was finished last.

    Raises:
        FileNotFoundError: there is none.
    """
    finished = [record for record in ROOT.glob(f"**/{RECORD}") if is_complete(record.parent)]
    if not finished:
        raise FileNotFoundError(
            f"no finished run in {ROOT}/, and a post-trained checkpoint is needed: name one with --model, or train one "
            "in a few minutes with `make demo`"
        )
    return max(finished, key=lambda record: record.stat().st_mtime).parent


def _push(name: str, model: str, base: str) -> None:
    for checkpoint in (model, base):
        if checkpoint != CLAP_MINI and Path(checkpoint).exists():
            raise ValueError(
                f"a Space cannot read {checkpoint}, which is on this machine: push it first (teminal push {checkpoint} "
                "--to USER/NAME), and give its name on the Hub to --model or --base"
            )
    retry = f"Try again with: {shlex.join(['teminal', 'demo', '--push', name, '--model', model, '--base', base])}"
    managed = ["teminal_hf/*", "teminal_hf/*/*", "teminal_hf/*/*/*"]
    with tempfile.TemporaryDirectory(prefix="teminal-space-") as folder:
        stage_space(Path(folder), model, base)
        print(push_folder(folder, name, "space", ["**/*"], retry=retry, managed=managed, space_sdk="gradio"))


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
        title=demo.TITLE,
        emoji="⏱️",
        colorFrom="indigo",
        colorTo="green",
        sdk="gradio",
        sdk_version=demo.GRADIO_VERSION,
        python_version="3.11",
        app_file="app.py",
        pinned=False,
        license="apache-2.0",
        short_description="Does a CLAP model hear which sound came first?",
        models=[checkpoint for checkpoint in (model, base) if checkpoint != CLAP_MINI],
        tags=["audio", "clap", "temporal"],
    )
    return render_card("space.md.jinja", data, model=model, base=base, clap_mini=CLAP_MINI)
