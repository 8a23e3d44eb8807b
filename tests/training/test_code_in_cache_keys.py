"""The code that a cached prefix depends on is in its key, all of it and nothing else: found by watching which functions
of the package run between the decoded clips and the stored tokens."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

import pytest

import teminal_hf
from support.tiny import RATE, tiny_clap, tiny_encoder, tiny_processor
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.groups import GroupDataset, plan
from teminal_hf.data.reference import ReferenceRecordings
from teminal_hf.data.rendering import Renderer, RenderSettings
from teminal_hf.data.views import STAGE_B_VIEWS
from teminal_hf.evaluation.evaluator import ZsteEvaluator
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.storage import cache
from teminal_hf.training.cached_groups import CachedGroups
from teminal_hf.training.data_collator import GroupCollator
from teminal_hf.training.retention import Reference

PACKAGE = Path(teminal_hf.__file__).parent
VIEWS = [*STAGE_B_VIEWS, "single"]
# What runs, but is in the key by what it yields: the clips' samples, the names of views, the token ids.
BY_CONTENT = {"clips", "storage", "data/groups.py", "models/tokenizer.py", "models/stages.py"}


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEMINAL_CACHE", str(tmp_path / "cache"))


def cached_groups(clips: ClipTable) -> Callable[[], Any]:
    settings = RenderSettings(RATE, 1.0, augment=True)
    groups = GroupDataset(list(plan("stage_b", clips, 3, 0)), Renderer(clips.usable(RATE), settings), VIEWS)
    model, _ = apply_stage(tiny_clap(), StagePolicy())
    collator = GroupCollator(tiny_processor(), VIEWS)
    return CachedGroups(model, StagePolicy().split_point, groups, collator).fill


def cached_evaluation(clips: ClipTable) -> Callable[[], Any]:
    evaluator = ZsteEvaluator(clips.usable(RATE), RenderSettings(RATE, 1.0), n_groups=3)
    return lambda: evaluator(tiny_encoder(), StagePolicy().split_point)


def cached_reference(clips: ClipTable) -> Callable[[], Any]:
    usable, settings = clips.usable(RATE), RenderSettings(RATE, 1.0)
    sets = (ReferenceRecordings.alone(usable, settings), ReferenceRecordings.around(usable, settings, 12))
    model, _ = apply_stage(tiny_clap(), StagePolicy())
    return Reference(tiny_clap(), model, StagePolicy().split_point, tiny_processor(), *sets, ["rain"]).fill


def modules_that_run(work: Callable[[], Any]) -> set[str]:
    """Files of the package, relative to it, of which a function was entered."""
    entered = set()

    def note(frame: FrameType, event: str, _: Any) -> None:
        if event == "call":
            entered.add(frame.f_code.co_filename)

    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(None)
    return {Path(name).relative_to(PACKAGE).as_posix() for name in entered if name.startswith(str(PACKAGE))}


@pytest.mark.parametrize(
    "entry, entry_point",
    [
        (cached_groups, {"training/cached_groups.py"}),
        (cached_reference, {"training/retention.py"}),
        (
            cached_evaluation,
            {"evaluation/embedder.py", "evaluation/evaluator.py", "evaluation/zste.py", "models/embed.py"},
        ),
    ],
)
def test_every_module_that_computes_is_in_the_key(
    entry: Any, entry_point: set[str], clips: ClipTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed: set[str] = set()
    code_id = cache.code_id

    def noted(*sources: ModuleType | Path) -> str:
        hashed.update(
            Path(str(getattr(source, "__file__", source))).relative_to(PACKAGE).as_posix() for source in sources
        )
        return code_id(*sources)

    for module in [module for name, module in sys.modules.items() if name.startswith("teminal_hf.")]:
        if getattr(module, "code_id", None) is code_id:
            monkeypatch.setattr(module, "code_id", noted)
    fill = entry(clips)
    ran = modules_that_run(fill)
    computing = {name for name in ran if not {name, name.split("/")[0]} & BY_CONTENT}
    assert "models/split.py" in computing and "audio/log_mel.py" in computing
    missing = computing - hashed - entry_point
    assert not missing


def test_a_typo_elsewhere_keeps_the_cache(monkeypatch: pytest.MonkeyPatch, clips: ClipTable) -> None:
    hashed: list[Path] = []
    read_text = Path.read_text

    def noted(path: Path, *args: Any, **kwargs: Any) -> str:
        hashed.append(path)
        return read_text(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", noted)
    cached_groups(clips)()
    rooms = {path.relative_to(PACKAGE).parts[0] for path in hashed if path.is_relative_to(PACKAGE)}
    assert rooms == {"audio", "data", "models", "training"}
