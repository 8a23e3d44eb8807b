"""What `import teminal_hf` adds to other libraries, so that this package's names load offline."""

import functools
import os
from pathlib import Path
from typing import Any

from datasets import load
from evaluate import loading

from teminal_hf.storage.cache import code_id

_DATASET_NAME = "teminal/esc50-temporal"
_METRIC_NAMES = ("zste", "teminal/zste")
_PACKAGE = Path(__file__).resolve().parents[1]
_METRIC_FILE = str(_PACKAGE / "evaluation" / "zste.py")


@functools.cache
def install_metric() -> None:
    """Make `evaluate.load` and `evaluate.combine` find "zste" and "teminal/zste" in this package.

    Other names, any `revision`, any `module_type` but "metric", and a local `./zste/zste.py` (or
    `./teminal/zste/zste.py`) are left to `evaluate`. Calling it again does nothing.
    """
    # evaluate has no plug-in hook: a bare name means a local folder or the Hub, and fails without a network
    # (https://github.com/huggingface/evaluate/issues/315). `load` looks this function up in its own module.
    original = loading.evaluation_module_factory

    @functools.wraps(original)
    def packaged_first(
        path: str, module_type: str | None = None, revision: Any = None, *args: Any, **kwargs: Any
    ) -> loading.ImportableModule:
        ours = path in _METRIC_NAMES and revision is None and module_type in (None, "metric")
        if ours and not os.path.isfile(os.path.join(path, "zste.py")):
            path = _METRIC_FILE
        return original(path, module_type, revision, *args, **kwargs)

    loading.evaluation_module_factory = packaged_first


@functools.cache
def install_builder() -> None:
    """Make `datasets.load_dataset("teminal/esc50-temporal", ...)` find the builder of this package.

    Other names, any `revision`, and `data_files` (the published manifests) are left to `datasets`. Calling it again
    does nothing.
    """
    # Loading scripts were removed in datasets 4 and nothing took their place
    # (https://github.com/huggingface/datasets/pull/7592). `load_dataset` looks this function up in its own module.
    original = load.dataset_module_factory

    @functools.wraps(original)
    def packaged_first(
        path: str, revision: Any = None, *args: Any, data_files: Any = None, **kwargs: Any
    ) -> load.DatasetModule:
        if path != _DATASET_NAME or revision is not None or data_files is not None:
            return original(path, revision, *args, data_files=data_files, **kwargs)
        return load.DatasetModule("teminal_hf.data.builder", _source_hash(), {"dataset_name": "esc50-temporal"})

    load.dataset_module_factory = packaged_first


def _source_hash() -> str:
    """Of the rooms that decide what a manifest says: another version must not read this one's cache."""
    return code_id(*sorted(_PACKAGE.glob("clips/*.py")), *sorted(_PACKAGE.glob("data/*.py")))
