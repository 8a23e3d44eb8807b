"""This package's names for `datasets.load_dataset` and `evaluate.load`, found offline."""

import functools
import logging
import os
from pathlib import Path
from types import ModuleType
from typing import Any

import wrapt

logger = logging.getLogger(__name__)

DATASET_NAME = "teminal/esc50-temporal"
HOOKED = {"datasets.load": "dataset_module_factory", "evaluate.loading": "evaluation_module_factory"}

_PACKAGE = Path(__file__).resolve().parents[1]
METRIC_FILES = {"zste": _PACKAGE / "evaluation" / "zste.py", "clap_order": _PACKAGE / "integrations" / "clap_order.py"}
_METRICS = {name: file for short, file in METRIC_FILES.items() for name in (short, f"teminal/{short}")}


@functools.cache
def register() -> None:
    """Let `load_dataset("teminal/esc50-temporal")`, `evaluate.load("zste")` and `evaluate.load("clap_order")` (and
    with "teminal/" before them) find what is in this package.

    It wraps one function of each library as soon as that is imported (neither is imported here), and passes on every
    other name, any `revision`, `data_files` (the published manifests), any `module_type` but "metric", and a local
    `./zste/zste.py` (or `./teminal/zste/zste.py`). `import teminal_hf` calls it unless `TEMINAL_NO_HOOKS=1`; calling it
    again does nothing.
    """
    # Neither library has a plug-in hook. Loading scripts were removed in datasets 4 and nothing took their place
    # (https://github.com/huggingface/datasets/pull/7592); a bare name of evaluate means a local folder or the Hub, and
    # fails without a network (https://github.com/huggingface/evaluate/issues/315). Both look the wrapped function up in
    # their own module.
    wrapt.register_post_import_hook(functools.partial(_wrap, wrapper=find_dataset), "datasets.load")
    wrapt.register_post_import_hook(functools.partial(_wrap, wrapper=find_metric), "evaluate.loading")


def _wrap(module: ModuleType, *, wrapper: Any) -> None:
    name = HOOKED[module.__name__]
    original = getattr(module, name, None)
    if original is None:
        logger.warning("%s has no %s any more: teminal_hf's names are not found there", module.__name__, name)
        return

    @functools.wraps(original)
    def packaged_first(*args: Any, **kwargs: Any) -> Any:
        return wrapper(original, *args, **kwargs)

    setattr(module, name, packaged_first)


def find_dataset(
    original: Any, path: str, revision: Any = None, *args: Any, data_files: Any = None, **kwargs: Any
) -> Any:
    """`datasets.load.dataset_module_factory` with the builder of this package."""
    if path != DATASET_NAME or revision is not None or data_files is not None:
        return original(path, revision, *args, data_files=data_files, **kwargs)
    from datasets.load import DatasetModule

    return DatasetModule("teminal_hf.data.builder", _source_hash(), {"dataset_name": "esc50-temporal"})


def find_metric(
    original: Any, path: str, module_type: str | None = None, revision: Any = None, *args: Any, **kwargs: Any
) -> Any:
    """`evaluate.loading.evaluation_module_factory` with the metrics of this package."""
    is_ours = path in _METRICS and revision is None and module_type in (None, "metric")
    if is_ours and not os.path.isfile(os.path.join(path, _METRICS[path].name)):
        path = str(_METRICS[path])
    return original(path, module_type, revision, *args, **kwargs)


def _source_hash() -> str:
    """Of the rooms that decide what a manifest says: another version must not read this one's cache."""
    from teminal_hf.storage.cache import code_id

    return code_id(*sorted(_PACKAGE.glob("clips/*.py")), *sorted(_PACKAGE.glob("data/*.py")))
