"""What the starting model knows: asked by transformers' own methods, and by ours."""

from collections import Counter

import pytest
import torch
from torch import Tensor
from torch.nn.functional import softmax

from support.tiny import LABELS, embeddings, staged, tiny_clap, tiny_clips, tiny_processor, tiny_reference
from teminal_hf.audio.log_mel import LogMel
from teminal_hf.data.captions import meaning_id
from teminal_hf.data.reference import ReferenceRecordings
from teminal_hf.data.rendering import RenderSettings
from teminal_hf.data.sound_names import NAMES, SENTENCES
from teminal_hf.models.tokenizer import tokenize
from teminal_hf.training.retention import ROWS, Reference

SPOKEN = [label.replace("_", " ") for label in LABELS]
WORDS = list(dict.fromkeys((*SPOKEN, *NAMES)))


@pytest.fixture(scope="module")
def reference() -> Reference:
    return tiny_reference(staged(), tiny_clap())


def of_plain_model(captions: list[str], recordings: list[Tensor]) -> tuple[Tensor, Tensor]:
    processor = tiny_processor()
    log_mel = LogMel.from_extractor(processor.feature_extractor)
    tokens = tokenize(processor, captions)
    batch = {
        "input_features": log_mel(torch.stack(recordings)),
        **{k: tokens[k] for k in ("input_ids", "attention_mask")},
    }
    return embeddings(tiny_clap(), batch)


def said(sentence: str, i: int) -> str:
    """Of word `i`, and of another where the sentence is about two."""
    return sentence.format(WORDS[i], WORDS[(i + len(WORDS) // 2) % len(WORDS)])


def opinion(audio: Tensor, sentence: int) -> Tensor:
    """Of the plain starting model about its own names: (n, names) probabilities."""
    _, text = of_plain_model([said(SENTENCES[sentence], i) for i in range(len(WORDS))], [torch.zeros(8000)])
    return softmax(tiny_clap().logit_scale_a.exp() * audio @ text.T, dim=-1)


def test_the_starting_model_has_not_departed_from_itself(reference: Reference) -> None:
    drawn = reference.draw(3)
    with torch.no_grad():
        same = staged()(**drawn.inputs)
    assert reference.departure(same.audio_embeds, same.text_embeds, drawn).item() == pytest.approx(0, abs=1e-5)


def test_departure_is_the_divergence_and_both_cosines(reference: Reference) -> None:
    drawn = reference.draw(5)
    generator = torch.Generator().manual_seed(1)
    audio, text = (torch.nn.functional.normalize(torch.randn(ROWS, 16, generator=generator), dim=1) for _ in range(2))
    clips, settings = tiny_clips(), RenderSettings.of_extractor(tiny_processor().feature_extractor)
    sets = (ReferenceRecordings.alone(clips, settings), ReferenceRecordings.around(clips, settings, 20))
    sounds = [torch.from_numpy(each[i]) for each in sets for i in range(len(each))]
    captions = [said(sentence, i) for sentence in SENTENCES for i in range(len(WORDS))]
    audio_before, text_before = of_plain_model(
        [captions[i] for i in drawn.captions.tolist()], [sounds[i] for i in drawn.recordings.tolist()]
    )
    p, q = opinion(audio_before, drawn.sentence), opinion(audio, drawn.sentence)
    divergence = (p * (p / q).log()).sum(dim=1).mean()
    cosines = [(one * other).sum(dim=1).mean() for one, other in ((audio, audio_before), (text, text_before))]
    truth = divergence + 2 * (1 - cosines[0]) + 4 * (1 - cosines[1])
    torch.testing.assert_close(reference.departure(audio, text, drawn), truth, atol=1e-4, rtol=1e-4)


def test_two_sounds_are_compared_with_the_mean_of_both_alone(reference: Reference) -> None:
    clips = tiny_clips()
    settings = RenderSettings.of_extractor(tiny_processor().feature_extractor)
    alone = ReferenceRecordings.alone(clips, settings)
    audio, _ = of_plain_model(["the sound of dog"], [torch.from_numpy(alone[i]) for i in range(len(alone))])
    pairs = [(0, 3), (5, 2), (4, 4)]
    heard = torch.tensor([[meaning_id(clips.ids[i]) for i in pair] for pair in pairs])
    generator = torch.Generator().manual_seed(1)
    embeds = torch.nn.functional.normalize(torch.randn(3, 16, generator=generator), dim=1)
    target = torch.stack([opinion(audio[list(pair)], 2).mean(dim=0) for pair in pairs])
    truth = (target * (target / opinion(embeds, 2)).log()).sum(dim=1).mean()
    torch.testing.assert_close(reference.mixture(embeds, heard, 2), truth, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_share_what_one_would_draw(reference: Reference, world_size: int) -> None:
    shares = [reference.draw(7, rank, world_size) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert len({share.sentence for share in shares}) == 1
    if ROWS % world_size == 0:
        whole = reference.draw(7)
        for name in ("recordings", "captions"):
            together = Counter(i for share in shares for i in getattr(share, name).tolist())
            assert together == Counter(getattr(whole, name).tolist())


def test_a_step_asks_the_same_whenever_it_is_taken(reference: Reference) -> None:
    again = tiny_reference(staged(), tiny_clap())
    for step in (0, 1, 10_000):
        one, other = reference.draw(step), again.draw(step)
        assert torch.equal(one.recordings, other.recordings) and one.sentence == other.sentence
        assert all(torch.equal(one.inputs[name], other.inputs[name]) for name in one.inputs)
    assert not torch.equal(reference.draw(0).recordings, reference.draw(1).recordings)
    assert not torch.equal(
        reference.draw(0).recordings, tiny_reference(staged(), tiny_clap(), seed=1).draw(0).recordings
    )
    assert {reference.draw(step).sentence for step in range(60)} == set(range(len(SENTENCES)))
