"""A file of the cache, damaged between two runs that share it."""

import random
import shutil
from pathlib import Path

from faults.fault import SURVIVED, Bad, Fault, Outcome
from faults.ground import RUN, Ground, cache
from faults.programs import teminal
from support.damage import DAMAGES


def plan(ground: Ground) -> list[Fault]:
    """Every way of damaging every kind of file."""
    rng = random.Random(f"{ground.seed} caches")
    root = ground.undisturbed / "cache"
    prefix: dict[str, list[Path]] = {"recordings": [], "captions": []}
    for about in root.glob("prefix/*/about.json"):
        prefix["recordings" if "recordings" in about.read_text(encoding="utf-8") else "captions"].append(about.parent)
    clips = list(root.glob("clips/*"))
    files = {f"shard of {what}": [folder / "00000.safetensors" for folder in found] for what, found in prefix.items()}
    files |= {name: [folder / name for folder in clips] for name in ("samples.int16", "index.json")}
    files["about.json"] = [folder / "about.json" for folder in (*clips, *prefix["recordings"], *prefix["captions"])]
    faults = []
    for name, paths in files.items():
        for damage in DAMAGES:
            path = rng.choice(sorted(paths)).relative_to(root).as_posix()
            faults.append(Fault("caches", f"{name}: {damage}", {"path": path, "damage": damage}))
    return faults


def attempt(ground: Ground, fault: Fault, folder: Path) -> Outcome:
    """Damage a copy of the undisturbed run's cache, run the same on it, compare."""
    shutil.copytree(ground.undisturbed / "cache", folder / "cache")
    DAMAGES[fault.how["damage"]](folder / "cache" / fault.how["path"])
    try:
        ended = teminal(*RUN, cwd=folder, env=cache(folder)).checked()
        if ended.status != 0:
            raise Bad("lost" if ended.has_message else "unclear", f"status {ended.status}: {ended.last}")
        ground.check_result(folder)
        again = teminal("cache", "info", cwd=folder, env=cache(folder)).checked()
        if again.status != 0:
            raise Bad("unclear", f"teminal cache info: {again.last}")
    except Bad as bad:
        return bad.outcome
    return Outcome(SURVIVED)
