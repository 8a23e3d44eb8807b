"""Captions to token ids, leaving no trace in the tokenizer."""

from collections.abc import Sequence

from transformers import BatchEncoding, ClapProcessor


def tokenize(processor: ClapProcessor, captions: Sequence[str]) -> BatchEncoding:
    """`input_ids` and `attention_mask` (n, L) of `captions`, padded to the longest, cut to the model's length."""
    tokens = processor.tokenizer(list(captions), padding=True, truncation=True, return_tensors="pt")
    forget_truncation(processor)
    return tokens


def forget_truncation(processor: ClapProcessor) -> None:
    """The last call's truncation is saved with a tokenizer, and a `ClapProcessor` that is loaded from there takes its
    `max_length` for audio too: it would crop every recording to 512 samples (RoBERTa's length) at random.
    """
    processor.tokenizer.backend_tokenizer.no_truncation()
    processor.tokenizer.backend_tokenizer.no_padding()
    processor.tokenizer.init_kwargs.pop("max_length", None)
