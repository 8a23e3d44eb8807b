"""What is saved works in plain transformers' own pipeline, and answers there as it does here."""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import BertTokenizer, ClapModel, ClapProcessor, RobertaTokenizer, pipeline

from support.tiny import RATE, SAMPLES, WORDS, assert_equal, tiny_clap, tiny_processor, trainer, weights
from teminal_hf.data.captions import caption
from teminal_hf.errors import CheckpointError
from teminal_hf.evaluation.ranking import rank
from teminal_hf.models.checkpoint import load_clap, save_checkpoint
from teminal_hf.models.embed import ClapEncoder
from teminal_hf.models.stages import StagePolicy, apply_stage
from teminal_hf.training.data_collator import GroupCollator

# peft 0.21 asks transformers 5.23 for a name it has deprecated
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

CAPTIONS = [caption(word, *pair) for word in ("before", "after") for pair in (("dog", "wind"), ("wind", "dog"))]


def processor_with(tokenizer: str) -> ClapProcessor:
    """As bases come: a tokenizer of its class's own `model_input_names`."""
    processor = tiny_processor()
    if tokenizer == "bert":
        tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
        processor.tokenizer = BertTokenizer(vocab={t: i for i, t in enumerate(tokens)}, model_max_length=32)
    else:  # the letters of the captions, each a token
        letters = sorted(set("".join(CAPTIONS)) - {" "})
        tokens = ["<pad>", "<unk>", "<s>", "</s>", "<mask>", "\u0120", *letters]
        vocab = {token: i for i, token in enumerate(tokens)}
        processor.tokenizer = RobertaTokenizer(vocab=vocab, merges=[], model_max_length=32)
    assert len(processor.tokenizer) <= tiny_clap().config.text_config.vocab_size
    return processor


def sounds(n: int = 3) -> list[np.ndarray]:
    """Of the model's window: plain transformers crops what is longer at random."""
    times = np.arange(SAMPLES) / RATE
    pitches = np.random.default_rng(0).uniform(200, 2000, (n, 2))
    return [np.sin(2 * np.pi * np.where(times < 0.5, a, b) * times).astype(np.float32) / 3 for a, b in pitches]


def check_pipeline(folder: Path | str, captions: Sequence[str], waveforms: Sequence[np.ndarray]) -> None:
    """The pipeline's order is `rank`'s, and its scores are the softmax of the scaled cosines of `rank`."""
    classify = pipeline("zero-shot-audio-classification", model=str(folder), device="cpu")
    assert type(classify.model) is ClapModel
    model, processor = load_clap(str(folder))
    scale = model.logit_scale_a.exp().item()
    for waveform in waveforms:
        answers = classify(waveform, candidate_labels=list(captions), hypothesis_template="{}")
        ranking = rank(ClapEncoder(model, processor), waveform, captions).captions
        cosines = dict(ranking)
        assert max(cosines.values()) - min(cosines.values()) > 1e-2
        assert [answer["label"] for answer in answers] == [text for text, _ in ranking]
        logits = np.log([answer["score"] for answer in answers])
        ours = scale * np.array([cosines[answer["label"]] for answer in answers])
        np.testing.assert_allclose(logits - logits[0], ours - ours[0], atol=scale * 2e-4)


@pytest.mark.parametrize("tuning", ["full", "lora"])
@pytest.mark.parametrize("tokenizer", ["bert", "roberta"])
def test_the_pipeline_ranks_as_we_do(tmp_path: Path, tokenizer: str, tuning: Any) -> None:
    tuned, _ = apply_stage(tiny_clap(), StagePolicy(tuning=tuning))
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.1, generator=generator)
    save_checkpoint(tuned, processor_with(tokenizer), tmp_path)
    check_pipeline(tmp_path, CAPTIONS, sounds())


def test_the_embedded_base_is_ranked_by_the_pipeline(tmp_path: Path) -> None:
    save_checkpoint(*load_clap("clap-mini"), tmp_path)
    noise = np.random.default_rng(0).normal(0, 0.1, 160_000).astype(np.float32)
    pulses = noise * (np.arange(160_000) % 16_000 < 800)
    check_pipeline(tmp_path, ["rain", "dog before rain", "clock tick", "church bells"], [noise, pulses])


def test_without_mending_the_pipeline_fails_on_a_bert_tokenizer(tmp_path: Path) -> None:
    """The control, and that what was saved so is mended by loading it."""
    tiny_clap().save_pretrained(tmp_path)
    processor_with("bert").save_pretrained(tmp_path)
    with pytest.raises(TypeError, match="token_type_ids"):
        check_pipeline(tmp_path, CAPTIONS, sounds(1))
    model, processor = load_clap(str(tmp_path))
    assert set(processor.tokenizer(["dog"])) == {"input_ids", "attention_mask"}
    model(**processor(text=["dog"], audio=sounds(1), sampling_rate=RATE, return_tensors="pt"))
    save_checkpoint(model, processor, tmp_path / "mended")
    check_pipeline(tmp_path / "mended", CAPTIONS, sounds())
    processor.save_pretrained(tmp_path)  # as any other code saves it
    check_pipeline(tmp_path, CAPTIONS, sounds(1))


@pytest.mark.parametrize("tokenizer", ["bert", "roberta"])
def test_checkpoints_on_the_way_are_plain_models(tmp_path: Path, tokenizer: str) -> None:
    processor = processor_with(tokenizer)  # not as load_clap gives it
    t = trainer(tmp_path, save_strategy="steps", save_steps=2, max_steps=2, processing_class=processor)
    t.data_collator = GroupCollator(processor, t.args.views)
    t.train()
    check_pipeline(tmp_path / "checkpoint-2", CAPTIONS, sounds())
    assert_equal(weights(load_clap(str(tmp_path / "checkpoint-2"))[0]), weights(t.model))


# peft 0.18 looks for the base of what has no name; newer ones do not.
@pytest.mark.filterwarnings("ignore:Could not find a config file in:UserWarning")
def test_checkpoints_on_the_way_of_lora_are_adapters_that_can_be_merged(tmp_path: Path) -> None:
    base, run = tmp_path / "base", tmp_path / "run"
    save_checkpoint(tiny_clap(), processor_with("bert"), base)
    t = trainer(
        run, tuning="lora", save_strategy="steps", save_steps=2, max_steps=2, processing_class=load_clap(str(base))[1]
    )
    t.train()
    saved = run / "checkpoint-2"
    assert not (saved / "config.json").exists()
    with pytest.raises(CheckpointError, match=r"holds adapters alone .* every checkpoint-N of a LoRA run") as error:
        load_clap(str(saved))
    advice = re.findall("`(save_checkpoint.*)`", str(error.value))[0].replace("BASE", str(base))
    names = {"save_checkpoint": save_checkpoint, "load_clap": load_clap, "PeftModel": PeftModel}
    eval(advice.replace("FOLDER", str(tmp_path / "merged")), names)
    check_pipeline(tmp_path / "merged", CAPTIONS, sounds())
    save_checkpoint(t.model, load_clap(str(base))[1], run)
    merged, truth = (weights(load_clap(str(folder))[0]) for folder in (tmp_path / "merged", run))
    for name in truth:
        torch.testing.assert_close(merged[name], truth[name], atol=1e-6, rtol=0, msg=name)
    assert json.loads((saved / "tokenizer_config.json").read_text())["model_input_names"] == [
        "input_ids",
        "attention_mask",
    ]
