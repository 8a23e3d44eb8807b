"""Which settings describe a method: every one of ours is in one list."""

from dataclasses import fields

from transformers import TrainingArguments

from teminal_hf.runs.arguments import CLASSES
from teminal_hf.runs.settings import CHOICE_PREFIXES, ELSEWHERE, METHOD, NO_METHOD, NO_METHOD_PREFIXES, SEEDS

NAMES = {field.name for cls in CLASSES for field in fields(cls)}


def lists_of(name: str) -> int:
    return sum(
        (
            name in METHOD,
            name in (*ELSEWHERE, *SEEDS, *NO_METHOD) or name.startswith(NO_METHOD_PREFIXES),
            name.startswith(CHOICE_PREFIXES) and name not in METHOD,
        )
    )


def test_each_setting_of_ours_is_in_one_list() -> None:
    ours = NAMES - {field.name for field in fields(TrainingArguments)}
    assert {name: lists_of(name) for name in ours} == dict.fromkeys(ours, 1)
    assert all(lists_of(name) <= 1 for name in NAMES)


def test_what_a_card_lists_is_a_setting() -> None:
    assert {*METHOD, *ELSEWHERE, *SEEDS} <= NAMES
