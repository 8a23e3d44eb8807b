"""What the faults are compared with: a worker of the campaign with all imports done, a Hub of its own, and the
undisturbed run."""

import atexit
import gc
import json
import os
import shutil
import signal
import time
import urllib.request
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

from faults.fault import Bad
from faults.interruptions import Watch, Write, read_log
from faults.programs import Ended, teminal

TRAIN = ["train", "stage_b"]
SMALL = ["--start_from", "base", "--n_groups", "8", "--max_steps", "6", "--per_device_train_batch_size", "4"]
SMALL += ["--save_strategy", "steps", "--save_steps", "2", "--clips_per_class", "2", "--report_to", "none"]
SMALL += ["--report_groups", "3", "--report_tasks", "1", "3O", "--output_dir", "run", "--disable_tqdm", "True"]
RUN = [*TRAIN, *SMALL]
RESUME = [*TRAIN, "--resume", "--output_dir", "run"]
HALVES = ("*.draft", ".tmp*", "push-*")
_IMPORTED = ("cli", "train", "evaluate", "compare", "rank", "push", "data", "metric", "demo", "doctor", "cache")
_IMPORTED = (
    *(f"teminal_hf.commands.{name}" for name in _IMPORTED),
    *("teminal_hf.runs.methods", "teminal_hf.integrations.publishing", "teminal_hf.evaluation.ranking"),
    *("teminal_hf.tools.doctor", "teminal_hf.tools.space"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "PIL.PngImagePlugin"),
)


class Ground:
    """Made once in each worker, before anything of Hugging Face is imported: it moves their caches below `folder`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self.seed = folder, seed
        self.hub_url = _hub_of_its_own()
        home = {"HF_HOME": str(folder / "home"), "HF_ENDPOINT": self.hub_url, "HF_TOKEN": "hf_test"}
        home |= {"HF_DATASETS_CACHE": str(folder / "home" / "datasets"), "HF_HUB_OFFLINE": "0"}
        home |= {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0"}
        home |= {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_IMPLICIT_TOKEN": "0"}
        home |= {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1", "MPLBACKEND": "agg"}
        home |= {"OMP_NUM_THREADS": "1", "GOMP_SPINCOUNT": "0", "OMP_WAIT_POLICY": "PASSIVE"}
        os.environ |= home
        os.environ.pop("TEMINAL_CACHE", None)
        _import_everything()

    @cached_property
    def undisturbed(self) -> Path:
        """The folder of a whole run from nothing: `run`, its cache, and the log of its writes. Made by one worker, for
        all, and in every campaign anew."""
        final = self.folder / f"undisturbed-{os.getppid()}"
        draft = self.folder / f"undisturbed-{os.getppid()}-{os.getpid()}"
        if not final.is_dir():
            for old in self.folder.glob("undisturbed-*"):
                if not old.name.startswith(final.name):
                    shutil.rmtree(old)
            draft.mkdir()
            # The first run also fills what `datasets` keeps, which all share; the second one's writes are counted.
            for name in ("warm", "run"):
                folder = draft if name == "run" else draft / name
                folder.mkdir(exist_ok=True)
                ended = teminal(*RUN, cwd=folder, env=cache(folder), first=lambda at=folder: watch(at))
                assert ended.status == 0, ended.stderr
            shutil.rmtree(draft / "warm")
            try:
                draft.rename(final)
            except OSError:  # another worker was faster
                shutil.rmtree(draft)
        return final

    @cached_property
    def writes(self) -> list[Write]:
        """Of the undisturbed run."""
        return read_log(self.undisturbed / "writes.txt")

    def check_result(self, folder: Path) -> None:
        """Raise a `Bad` unless the run in `folder` came to what the undisturbed one did and left nothing half there."""
        check_same(self.undisturbed / "run", folder / "run")
        check_clean(folder)

    def tell_hub(self, **how: Any) -> list[bool]:
        """To fail, to be calm again, or to be empty; whether what it was told before has struck (see
        tests/support/hub_endpoints.py)."""
        request = urllib.request.Request(f"{self.hub_url}/told-to-fail", json.dumps(how).encode(), method="POST")
        with urllib.request.urlopen(request) as answer:
            return list(json.load(answer)["struck"])

    def on_hub(self, address: str) -> dict[str, Any]:
        """The files of a repository, such as "datasets/tester/data", with their hashes."""
        with urllib.request.urlopen(f"{self.hub_url}/api/{address}/tree/main?recursive=true") as answer:
            return {entry["path"]: entry["oid"] for entry in json.load(answer)}


def cache(folder: Path) -> dict[str, str]:
    """The environment with a cache in this folder."""
    return {"TEMINAL_CACHE": str(folder / "cache")}


def watch(folder: Path, **end: Any) -> Watch:
    """Watch the writes to the run and the cache in `folder`."""
    return Watch({"run": folder / "run", "cache": folder / "cache"}, folder / "writes.txt", **end)


def go_on(folder: Path, resume: list[str] = RESUME) -> Ended:
    """`--resume`, or the same command where that says that there is nothing to resume."""
    ended = teminal(*resume, cwd=folder, env=cache(folder)).checked()
    if ended.status == 1 and "leave --resume out to start there" in ended.last:
        ended = teminal(*RUN, cwd=folder, env=cache(folder)).checked()
    if ended.status == 1 and "is finished: nothing to resume" in ended.last:
        return ended
    if ended.status != 0:
        raise Bad("lost" if ended.has_message else "unclear", f"cannot go on (status {ended.status}): {ended.last}")
    return ended


def check_same(truth: Path, run: Path) -> None:
    """Raise a `Bad` unless weights and figures are equal and the run is complete."""
    import torch
    from safetensors.torch import load_file

    if not (run / "model.safetensors").is_file():
        raise Bad("lost", "ended without weights")
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (run, truth))
    differ = [name for name in theirs if name not in ours or not torch.equal(ours[name], theirs[name])]
    if differ or ours.keys() != theirs.keys():
        raise Bad("silently wrong", f"{len(differ)} weight tensors differ, such as {differ[:1]}")
    for name in ("zste.json", "run.json", "README.md"):
        if not (run / name).is_file():
            raise Bad("lost", f"ended without {name}")
    if (run / "zste.json").read_bytes() != (truth / "zste.json").read_bytes():
        raise Bad("silently wrong", "other figures in zste.json")
    if not json.loads((run / "run.json").read_text(encoding="utf-8")).get("complete"):
        raise Bad("lost", "run.json does not say that the run is complete")


def check_clean(folder: Path) -> None:
    """Raise a `Bad` for what is half written below `folder`."""
    from teminal_hf.training.checkpoints import checkpoints, is_whole

    halves = [path for name in HALVES for path in folder.rglob(name)]
    halves += [path for path in checkpoints(folder / "run") if not is_whole(path)]
    if halves:
        raise Bad("unclear", f"half written, and left there: {', '.join(path.name for path in halves)}")


def _hub_of_its_own() -> str:
    """The address of a loopback Hub in a process that ends with this one."""
    from support.hub_server import HubServer

    reader, writer = os.pipe()
    parent, pid = os.getpid(), os.fork()
    if pid == 0:
        os.close(reader)
        with HubServer() as hub:
            os.write(writer, hub.url.encode())
            os.close(writer)
            while os.getppid() == parent:
                time.sleep(0.5)
        os._exit(0)
    os.close(writer)
    atexit.register(os.kill, pid, signal.SIGKILL)
    with os.fdopen(reader) as file:
        return file.read()


def _import_everything() -> None:
    from runpy import run_path

    for name in _IMPORTED:
        import_module(name)
    from teminal_hf.storage.packaged import recipes_folder

    for recipe in ("stage_b", "plain_pairs"):
        run_path(str(recipes_folder() / f"{recipe}.py"))
    gc.collect()
    gc.freeze()  # forks need not look through what is imported
