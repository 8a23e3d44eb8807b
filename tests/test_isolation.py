"""The tests touch nobody's caches and ask no network."""

import os
from pathlib import Path

import datasets
import evaluate
import huggingface_hub
from huggingface_hub import constants

from teminal_hf.storage.cache import cache_root


def test_every_cache_is_the_tests_own() -> None:
    own = Path(os.environ["HF_HOME"])
    assert own.name.startswith("teminal-hf-tests-")
    folders = [constants.HF_HOME, constants.HF_HUB_CACHE, constants.HF_ASSETS_CACHE, datasets.config.HF_DATASETS_CACHE]
    folders += [datasets.config.HF_CACHE_HOME, evaluate.config.HF_EVALUATE_CACHE, evaluate.config.HF_MODULES_CACHE]
    for folder in (*folders, cache_root()):
        assert Path(folder).is_relative_to(own), folder


def test_the_hub_is_not_asked() -> None:
    assert huggingface_hub.is_offline_mode()
    assert datasets.config.HF_HUB_OFFLINE
