"""Models on a Hub: the recipe's push, its failures, and what somebody without this package downloads."""

import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import yaml
from transformers import ClapModel, ClapProcessor

from support import tiny
from support.clients import client, without_package
from support.hub_endpoints import TOKEN
from support.hub_server import HubServer
from support.paths import ROOT
from teminal_hf.commands import cli
from teminal_hf.hub import push as hub
from teminal_hf.runs import publishing
from teminal_hf.runs.run_folder import read_record

RECIPE = ["train", "stage_b", "--start_from", "base", "--output_dir", "runs/mine", "--n_groups", "16"]
RECIPE += ["--num_train_epochs", "1", "--per_device_train_batch_size", "8", "--clips_per_class", "2"]
RECIPE += ["--report_groups", "4", "--report_tasks", "1", "3O"]
CHECKPOINT = {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}
PUSHED = CHECKPOINT | {"README.md", "config.yaml", "run.json", "log.json", "zste.json", "zste.png"}


class Pushed(NamedTuple):
    hub: HubServer
    folder: Path  # the recipe ran in it
    said: str


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushed]:
    """A Hub to which a recipe pushed its run at the end."""
    folder = tmp_path_factory.mktemp("work")
    with HubServer() as hub:
        push = ["--push_to_hub", "--hub_model_id", "mine", "--hub_token", TOKEN]
        command = ["-m", "teminal_hf.commands.cli", *RECIPE, *push]
        yield Pushed(hub, folder, client(hub, folder / "home", *command, cwd=folder, HF_TOKEN="bad"))


def test_a_recipe_pushes_what_describes_the_run_and_nothing_else(pushed: Pushed) -> None:
    repo = pushed.hub.repo("model", "tester/mine")
    assert f"pushed to {pushed.hub.url}/tester/mine" in pushed.said
    assert set(repo.files) == PUSHED
    assert len(repo.commits) == 2  # the first is the empty repository's
    run = pushed.folder / "runs" / "mine"
    for name in PUSHED - {"config.yaml"}:
        assert repo.files[name] == (run / name).read_bytes(), name
    given = yaml.safe_load((run / "config.yaml").read_bytes())
    published = yaml.safe_load(repo.files["config.yaml"])  # whoever runs it again pushes nothing
    assert given == published | {"push_to_hub": True, "hub_model_id": "mine"}
    assert not [path for path in run.iterdir() if path.is_file() and TOKEN.encode() in path.read_bytes()]
    record = read_record(pushed.folder / "runs" / "mine")
    assert record["settings"]["n_groups"] == 16 and record["licence"] == "apache-2.0" and record["history"] == []


EMBED = """
import numpy as np, torch
from transformers import ClapModel, ClapProcessor, pipeline
model = ClapModel.from_pretrained("tester/mine", use_safetensors=True).eval()
processor = ClapProcessor.from_pretrained("tester/mine")
sound = np.load("sound.npy")
with torch.no_grad():
    features = processor.feature_extractor(sound, sampling_rate=16_000, return_tensors="pt")
    audio = model.get_audio_features(**features).pooler_output
    tokens = processor.tokenizer(["dog before rain", "rain"], padding=True, return_tensors="pt")
    text = model.get_text_features(**tokens).pooler_output
np.savez("downloaded.npz", audio=audio.numpy(), text=text.numpy())
found = pipeline("zero-shot-audio-classification", model="tester/mine")(sound, candidate_labels=["dog", "rain"])
print(processor.feature_extractor.padding, sorted(a["label"] for a in found), round(sum(a["score"] for a in found), 4))
"""


def test_who_has_no_package_downloads_the_same_embeddings(pushed: Pushed, tmp_path: Path) -> None:
    card = pushed.hub.repo("model", "tester/mine").files["README.md"].decode()
    snippet = re.search(r"```python\n(.*?)```", card, re.S)[1]
    sound = (0.1 * np.random.default_rng(0).standard_normal(4 * 16_000)).astype("float32")
    np.save(tmp_path / "sound.npy", sound)
    local = pushed.folder / "runs" / "mine"
    model, processor = ClapModel.from_pretrained(local).eval(), ClapProcessor.from_pretrained(local)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # as the client
    with torch.no_grad():
        features = processor.feature_extractor(sound, sampling_rate=16_000, return_tensors="pt")
        truth = {"audio": model.get_audio_features(**features).pooler_output}
        tokens = processor.tokenizer(["dog before rain", "rain"], padding=True, return_tensors="pt")
        truth["text"] = model.get_text_features(**tokens).pooler_output
    torch.set_num_threads(threads)
    for offline in ("0", "1"):  # what was downloaded once works offline
        asked = len(pushed.hub.requests)
        code = EMBED + snippet
        said = without_package(pushed.hub, tmp_path / "home", code, cwd=tmp_path, HF_HUB_OFFLINE=offline)
        with np.load(tmp_path / "downloaded.npz") as found:
            for name, tensor in truth.items():
                np.testing.assert_array_equal(found[name], tensor.numpy())
        assert "pad ['dog', 'rain'] 1.0" in said
        assert re.search(r"^[+-]\d\.\d{3}  dog before rain$", said, re.M)  # the snippet of the card
        assert (len(pushed.hub.requests) == asked) == (offline == "1")


FAILURES: dict[str, tuple[dict[str, Any] | None, str]] = {
    "no-token": (None, "Log in first, with a token that may write"),
    "forbidden": ({"method": "POST", "path": "/api/repos/create", "status": 403}, "The token may not write there"),
    "conflict": ({"method": "POST", "path": "/commit/", "status": 409}, "409"),
    "commit-cut": ({"method": "POST", "path": "/commit/"}, "Is there a connection"),
    "second-request": ({"method": "POST", "path": "/api/.*second", "status": 500, "nth": 2}, "500"),
    "upload-refused": ({"method": "PUT", "path": "/lfs/", "status": 401, "forget": True}, "Log in first"),
}
PASSING = {
    "passing-500": {"method": "PUT", "path": "/lfs/", "status": 500, "forget": True},
    "passing-429": {"method": "PUT", "path": "/lfs/", "status": 429, "forget": True},
    "passing-cut": {"method": "PUT", "path": "/lfs/", "forget": True},
}
PUSHES = """
import json, os, shlex, shutil, urllib.request
from teminal_hf.commands import cli
from teminal_hf.hub import push as hub
failures, passing, recipe = json.loads({given!r})

def main(*arguments):
    try:
        cli.main(arguments)
    except SystemExit as stopped:
        return str(stopped)

def fail(how):
    body = json.dumps(how).encode()
    urllib.request.urlopen(urllib.request.Request(os.environ["HF_ENDPOINT"] + "/told-to-fail", body, method="POST"))

said = {{"again": main("push", "runs/mine", "--to", "mine")}}
said["private"] = main("push", "runs/mine", "--to", "tester/hidden", "--private")
said["public"] = main("push", "runs/mine", "--to", "tester/mine", "--private")
said["branch"] = main("push", "runs/mine", "--to", "tester/mine", "--revision", "dev")
shutil.copytree("runs/mine", "runs/less")
os.remove("runs/less/zste.png")
said["less"] = main("push", "runs/less", "--to", "tester/hidden")
said["impossible"] = main("push", "runs/mine", "--to", "a/b/c")
for name, (how, _) in failures.items():
    if how:
        fail(how)
    os.environ["HF_TOKEN"] = "hf_test" if how else "bad"
    said[name] = main("push", "runs/mine", "--to", "tester/" + name)
    os.environ["HF_TOKEN"] = "hf_test"
    said["retry-" + name] = main(*shlex.split(said[name].rsplit("try again with: ", 1)[1])[1:])
for name, how in passing.items():
    fail(how)
    said[name] = main("push", "runs/mine", "--to", "tester/" + name)
said["no name"] = main(*recipe, "--push_to_hub")
os.environ["HF_TOKEN"] = "bad"
said["no login"] = main(*recipe, "--push_to_hub", "--hub_model_id", "tester/never")
os.makedirs("empty")
said["empty"] = main("push", "empty", "--to", "x")
print(json.dumps(said))
"""


@pytest.fixture(scope="module")
def pushes(pushed: Pushed) -> dict[str, str | None]:
    """What each push said; None where it went through. In one process: importing everything takes longer."""
    recipe = [argument.replace("runs/mine", "runs/other") for argument in RECIPE]
    code = PUSHES.format(given=json.dumps([FAILURES, PASSING, recipe]))
    return json.loads(client(pushed.hub, pushed.folder / "home", "-c", code, cwd=pushed.folder).splitlines()[-1])


def test_pushing_again_changes_nothing(pushed: Pushed, pushes: dict[str, str | None]) -> None:
    assert pushes["again"] is None
    messages = [message for _, message, _ in pushed.hub.repo("model", "tester/mine").commits]
    assert len(messages) == 2  # nor did the push to a branch, which had it all


def test_where_it_is_pushed(pushed: Pushed, pushes: dict[str, str | None]) -> None:
    hidden = pushed.hub.repo("model", "tester/hidden")
    assert pushes["private"] is None and hidden.private
    first, second = (set(files) for _, _, files in hidden.commits[1:])
    assert pushes["less"] is None and first == PUSHED
    assert second == PUSHED - {"zste.png"}  # what an earlier push left is taken away with the next
    assert "tester/mine is there already, and public: make it private first" in str(pushes["public"])
    assert pushes["branch"] is None and set(pushed.hub.repo("model", "tester/mine").files_at("dev")) == PUSHED
    assert "Repo id must" in str(pushes["impossible"]) and "try again" not in str(pushes["impossible"])


@pytest.mark.parametrize("name", FAILURES)
def test_a_push_that_fails_loses_nothing_and_can_be_repeated(
    pushed: Pushed, pushes: dict[str, str | None], name: str
) -> None:
    said = str(pushes[name])
    assert said.startswith(f"error: the push to tester/{name} failed, nothing is lost: ")
    assert FAILURES[name][1] in said
    assert said.endswith(f"All is in runs/mine; try again with: teminal push runs/mine --to tester/{name}")
    assert shlex.split(said.rsplit("with: ", 1)[1])[0] == "teminal" and pushes[f"retry-{name}"] is None
    repo = pushed.hub.repo("model", f"tester/{name}")
    assert set(repo.files) == PUSHED and len(repo.commits) == 2  # all of it at once, or nothing


@pytest.mark.parametrize("name", PASSING)
def test_a_passing_failure_is_not_noticed(pushed: Pushed, pushes: dict[str, str | None], name: str) -> None:
    assert pushes[name] is None
    assert set(pushed.hub.repo("model", f"tester/{name}").files) == PUSHED
    assert all(failure.seen >= failure.nth for failure in pushed.hub.failures)  # each of them struck


def test_what_cannot_be_pushed_is_said_before_the_training(pushed: Pushed, pushes: dict[str, str | None]) -> None:
    assert "push_to_hub needs a name: --hub_model_id" in str(pushes["no name"])
    assert "tester/never cannot be pushed to" in str(pushes["no login"]) and "Log in first" in str(pushes["no login"])
    assert not (pushed.folder / "runs" / "other").exists()
    assert "empty holds no finished run" in str(pushes["empty"])


OFFLINE = """
import json
from teminal_hf.commands import cli
from teminal_hf.hub import push as hub
said = []
for arguments in json.loads({given!r}):
    try:
        cli.main(arguments)
    except SystemExit as stopped:
        said.append(str(stopped))
print(json.dumps(said))
"""


def test_offline_names_what_to_fetch(pushed: Pushed, tmp_path: Path) -> None:
    commands = [["evaluate", "tester/mine"], ["evaluate", "clap-mini", "--source", "tester/clips"]]
    commands += [["push", str(pushed.folder / "runs" / "mine"), "--to", "tester/mine"]]
    asked = len(pushed.hub.requests)
    code = OFFLINE.format(given=json.dumps(commands))
    said = json.loads(client(pushed.hub, tmp_path, "-c", code, cwd=tmp_path, HF_HUB_OFFLINE="1").splitlines()[-1])
    assert "tester/mine is not, or not wholly, on this machine" in said[0] and "hf download tester/mine" in said[0]
    assert "tester/clips is not, or not wholly, on this machine" in said[1]
    assert "load_dataset('tester/clips')" in said[1]
    assert "nothing is lost" in said[2] and "HF_HUB_OFFLINE" in said[2]
    assert len(pushed.hub.requests) == asked  # at once, without a look


STRATEGIES = (("every_save", "lora"), ("all_checkpoints", "full"), ("end", "full"))
TRAIN = """
import sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from support import tiny
for strategy, tuning in {strategies!r}:
    trainer = tiny.trainer(
        Path(strategy), tuning=tuning, push_to_hub=True, hub_model_id="tester/" + strategy.replace("_", "-"),
        hub_strategy=strategy, max_steps=4, save_strategy="steps", save_steps=2, hub_always_push=True,
        processing_class=tiny.tiny_processor(),
    )
    trainer.train()
    print(trainer.push_to_hub(), [path.name for path in Path(strategy).iterdir() if "push" in path.name])
"""


@pytest.fixture(scope="module")
def trained(pushed: Pushed, tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("trained")
    code = TRAIN.format(tests=str(ROOT / "tests"), strategies=STRATEGIES)
    return client(pushed.hub, folder / "home", "-c", code, cwd=folder)


@pytest.mark.parametrize(("strategy", "tuning"), STRATEGIES)
def test_checkpoints_are_pushed_as_plain_models(
    pushed: Pushed, trained: str, tmp_path: Path, strategy: str, tuning: str
) -> None:
    name = strategy.replace("_", "-")
    assert f"{pushed.hub.url}/tester/{name} []" in trained  # and no staged folder is left
    repo = pushed.hub.repo("model", f"tester/{name}")
    steps = [] if strategy == "end" else ["Training in progress, step 2", "Training in progress, step 4"]
    assert [message for _, message, _ in repo.commits[1:]][: len(steps)] == steps
    folders = ["checkpoint-2/", "checkpoint-4/"] if strategy == "all_checkpoints" else []
    assert set(repo.files) >= {folder + file for folder in folders or [""] for file in CHECKPOINT}
    for _, _, files in repo.commits:
        assert {Path(file).name for file in files} <= CHECKPOINT | {"special_tokens_map.json", "vocab.txt"}
    for file in CHECKPOINT:
        (tmp_path / file).write_bytes(repo.files[(folders or [""])[-1] + file])
    _, loading = ClapModel.from_pretrained(tmp_path, output_loading_info=True)
    assert not loading["missing_keys"] and not loading["unexpected_keys"] and not loading["mismatched_keys"]


def test_the_strategy_that_pushes_pickles_is_refused() -> None:
    with pytest.raises(ValueError, match="hub_strategy checkpoint pushes the optimizer's state, a pickle"):
        tiny.config(Path("out"), push_to_hub=True, hub_strategy="checkpoint")


def test_a_pickle_is_never_pushed(tmp_path: Path) -> None:
    (tmp_path / "training_args.bin").write_bytes(b"")
    with pytest.raises(ValueError, match=r"training_args\.bin: a pickle runs code when it is read"):
        hub.push_folder(tmp_path, "a/b", "model", ["*"], retry="")


def test_no_path_of_the_machine_is_pushed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: dict[str, bytes] = {}
    monkeypatch.setattr(publishing, "push_folder", lambda *args, instead, **kwargs: sent.update(instead))
    monkeypatch.setattr(publishing, "make_repo", lambda name, *args, **kwargs: name)
    monkeypatch.setattr(publishing, "write_card", lambda *args: None)
    record = {"complete": True, "base": str(tmp_path / "base"), "history": [{"source": str(tmp_path), "seed": 1}]}
    (tmp_path / "run.json").write_text(json.dumps(record))
    (tmp_path / "config.yaml").write_text(f"data_dir: {tmp_path}/ESC-50\nmodel: laion/clap\nviews: [single]\n")
    (tmp_path / "processor_config.json").write_text('{"feature_extractor": {"padding": "pad"}}')
    (tmp_path / "model.safetensors").touch()
    publishing.push_run(tmp_path, "a/b")
    assert json.loads(sent["run.json"]) == {
        "complete": True,
        "base": "base",
        "history": [{"source": tmp_path.name, "seed": 1}],
    }
    assert yaml.safe_load(sent["config.yaml"]) == {"data_dir": "ESC-50", "model": "laion/clap", "views": ["single"]}


def test_a_processor_that_tiles_is_not_pushed(pushed: Pushed, tmp_path: Path) -> None:
    for path in (pushed.folder / "runs" / "mine").iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    text = (tmp_path / "processor_config.json").read_text()
    (tmp_path / "processor_config.json").write_text(text.replace('"padding": "pad"', '"padding": "repeatpad"'))
    with pytest.raises(SystemExit, match="has padding='repeatpad', which tiles short recordings"):
        cli.main(["push", str(tmp_path), "--to", "a/b"])
