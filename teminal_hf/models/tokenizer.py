"""Captions to token ids, leaving no trace in the tokenizer, and the tokenizer fit to be saved."""

import logging
from collections.abc import Collection, Sequence
from typing import Any

from transformers import BatchEncoding

logger = logging.getLogger(__name__)

MAX_TOKENS = 512  # of a caption, as PE-Audio was trained and RoBERTa can
_INPUTS = ["input_ids", "attention_mask"]  # of text towers


def tokenize(processor: Any, captions: Sequence[str]) -> BatchEncoding:
    """`input_ids` and `attention_mask` (n, L) of `captions`, padded to the longest, cut to the model's length."""
    longest = min(MAX_TOKENS, processor.tokenizer.model_max_length)  # where none is known, it is a huge number
    tokens = processor.tokenizer(list(captions), padding=True, truncation=True, max_length=longest, return_tensors="pt")
    _forget_truncation(processor)
    return tokens


def warn_of_cut(processor: Any, captions: Collection[str]) -> None:
    """One warning with the number of captions that are longer than what the text tower reads."""
    limit = min(MAX_TOKENS, processor.tokenizer.model_max_length)
    encoded = processor.tokenizer.backend_tokenizer.encode_batch(sorted(captions))
    if cut := [len(each.ids) for each in encoded if len(each.ids) > limit]:
        logger.warning(
            "%d of %d captions are longer than the %d tokens that the model reads (the longest has %d): their ends are "
            "cut off. Shorten them, or split them into several captions of the recording",
            len(cut),
            len(captions),
            limit,
            max(cut),
        )


def fit_to_towers(processor: Any) -> None:
    """Let the tokenizer give, now and once it is loaded from where it is saved, what its model takes and no more.

    A `BertTokenizer` gives `token_type_ids` too, on which plain transformers' pipeline fails.
    """
    _forget_truncation(processor)  # whatever it was used for before
    processor.tokenizer.model_input_names = list(_INPUTS)
    processor.tokenizer.init_kwargs["model_input_names"] = list(_INPUTS)  # of which the saved ones are read


def _forget_truncation(processor: Any) -> None:
    """The last call's truncation is saved with a tokenizer, and a `ClapProcessor` that is loaded from there takes its
    `max_length` for audio too: it would crop every recording to 512 samples (RoBERTa's length) at random.
    """
    processor.tokenizer.backend_tokenizer.no_truncation()
    processor.tokenizer.backend_tokenizer.no_padding()
    processor.tokenizer.init_kwargs.pop("max_length", None)
