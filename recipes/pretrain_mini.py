"""Make `clap-mini`, the embedded base checkpoint:

    accelerate launch recipes/pretrain_mini.py --output_dir runs/clap_mini

A small `ClapModel` (16 kHz, 10 s), trained from random weights on *single* sounds of the sound bank alone (folds 1-3),
so that what a demo gains in hearing order is post-training's own. Takes about 10 minutes on 2 cores. Written in
half precision, it is copied into `teminal_hf/models/clap_mini/` by hand.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import (
    BertTokenizer,
    ClapAudioConfig,
    ClapConfig,
    ClapFeatureExtractor,
    ClapModel,
    ClapProcessor,
    ClapTextConfig,
    set_seed,
)

from teminal_hf import ClapEncoder, GroupCollator, RenderSettings, TeminalConfig, TeminalTrainer, ZsteEvaluator
from teminal_hf.audio.waveform import fade_ends, level_to, loop_to, pad_to_window
from teminal_hf.clips.sources import load_clips
from teminal_hf.clips.table import ClipTable
from teminal_hf.data.captions import BOTH, CONNECTIVES, FIRST_SOUND, SECOND_SOUND, SINGLE, spoken
from teminal_hf.data.zste_items import PROMPT
from teminal_hf.models.split import attach_split_forward, detach_split_forward, towers_of
from teminal_hf.models.towers import SplitPoint

RATE, WINDOW = 16_000, 10
PROMPTS = (SINGLE, PROMPT, "{}", "a recording of {}", "we hear {} here", "{} in the distance", "there is {}")


class SingleSounds(Dataset[dict[str, Any]]):
    """One clip at a random place of the window, once or repeated, with one of several prompts."""

    def __init__(self, clips: ClipTable, size: int, seed: int) -> None:
        self.clips, self.size, self.seed = clips, size, seed

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = np.random.default_rng([self.seed, index])
        i = int(rng.integers(len(self.clips)))
        sound = fade_ends(self.clips.waveform(self.clips.ids[i], RATE), RATE)
        if rng.random() < 0.5:
            sound = loop_to(sound, int(rng.integers(len(sound), WINDOW * RATE + 1)), RATE)
        sound = level_to(sound, float(rng.uniform(-26, -16)))
        caption = str(rng.choice(PROMPTS)).format(spoken(self.clips.labels[i]))
        array = pad_to_window(sound, WINDOW * RATE, rng.random())
        return {
            "forward": {"array": array, "sampling_rate": RATE},
            "forward_caption": caption,
            "label": self.clips.labels[i],
        }


class SingleCollator(GroupCollator):
    """Captions of one class mean the same, whatever the prompt."""

    def meanings(self, rows: Any) -> torch.Tensor:
        labels = {label: i for i, label in enumerate(sorted({row["label"] for row in rows}))}
        return torch.tensor([[labels[row["label"]]] for row in rows])


def make_processor(folder: Path, classes: list[str]) -> ClapProcessor:
    """Words of every caption this package writes; any other word falls back to its letters."""
    templates = [SINGLE, BOTH, FIRST_SOUND, SECOND_SOUND, *PROMPTS, *(c.template for c in CONNECTIVES.values())]
    text = " ".join(templates).replace("{first}", "").replace("{second}", "").replace("{}", "")
    words = sorted({*text.split(), *(word for c in classes for word in spoken(c).split())})
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)] + [str(d) for d in range(10)]
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *letters, *(f"##{c}" for c in letters), *",.'-"]
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(dict.fromkeys(tokens)) + "\n", encoding="utf-8")
    tokenizer = BertTokenizer(
        vocab=str(vocabulary), model_max_length=64, model_input_names=["input_ids", "attention_mask"]
    )
    extractor = ClapFeatureExtractor(
        feature_size=32,
        sampling_rate=RATE,
        hop_length=1280,
        max_length_s=WINDOW,
        fft_window_size=2048,
        frequency_min=50,
        frequency_max=8000,
        truncation="rand_trunc",
        padding="pad",
    )
    return ClapProcessor(feature_extractor=extractor, tokenizer=tokenizer)


def make_model(vocabulary: int) -> ClapModel:
    audio = ClapAudioConfig(
        spec_size=64,
        num_mel_bins=32,
        patch_size=4,
        patch_stride=[4, 4],
        window_size=4,
        patch_embeds_hidden_size=48,
        depths=[2, 4, 2],
        num_attention_heads=[2, 4, 8],
        num_hidden_layers=3,
        hidden_size=192,
        enable_fusion=False,
        drop_path_rate=0.0,
        projection_dim=128,
    )
    text = ClapTextConfig(
        vocab_size=vocabulary,
        hidden_size=128,
        num_hidden_layers=4,
        num_attention_heads=4,
        intermediate_size=512,
        max_position_embeddings=66,
        pad_token_id=0,
        bos_token_id=2,
        eos_token_id=3,
        projection_dim=128,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    return ClapModel(ClapConfig(text_config=text.to_dict(), audio_config=audio.to_dict(), projection_dim=128))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output_dir", type=Path, default=Path("runs/clap_mini"))
    parser.add_argument("--steps", type=int, default=800)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.output_dir.mkdir(parents=True, exist_ok=True)
    set_seed(args.seed)
    clips = load_clips("soundbank", clips_per_class=40).usable(RATE)
    processor = make_processor(args.output_dir, ESC50_CLASSES)
    model = make_model(len(processor.tokenizer))
    towers = towers_of(model)
    attach_split_forward(model, SplitPoint(len(towers.audio_layers), len(towers.text_layers)))
    settings = RenderSettings.of_extractor(processor.feature_extractor)
    evaluator = ZsteEvaluator(clips.in_folds([4]), settings, n_groups=240, tasks=("1", "3O", "3A"))
    trainer = TeminalTrainer(
        model,
        TeminalConfig(
            output_dir=str(args.output_dir / "trainer"),
            views=["forward"],
            max_steps=args.steps,
            per_device_train_batch_size=args.batch,
            learning_rate=3e-4,  # at 1e-3 both towers sat on the collapsed plateau (loss ln 64) for 500 steps
            lr_scheduler_type="cosine",
            warmup_steps=0.05,
            weight_decay=0.05,
            logging_steps=50,
            save_strategy="no",
            report_to="none",
            seed=args.seed,
            dataloader_num_workers=1,
        ),
        data_collator=SingleCollator(processor, ["forward"]),
        train_dataset=SingleSounds(clips.in_folds([1, 2, 3]), args.steps * args.batch, args.seed),
    )
    trainer.train()
    print({name: round(value, 3) for name, value in evaluator(ClapEncoder(model, processor)).figures().items()})
    detach_split_forward(model)
    model.half().save_pretrained(args.output_dir)
    config = ClapConfig.from_pretrained(args.output_dir)
    config.dtype = "float32"  # half precision is for the file's size alone: load it in single
    config.save_pretrained(args.output_dir)
    processor.save_pretrained(args.output_dir)


# So that a user's own captions about any ESC-50 class are read as words.
ESC50_CLASSES = [
    "airplane",
    "breathing",
    "brushing_teeth",
    "can_opening",
    "car_horn",
    "cat",
    "chainsaw",
    "chirping_birds",
    "church_bells",
    "clapping",
    "clock_alarm",
    "clock_tick",
    "coughing",
    "cow",
    "crackling_fire",
    "crickets",
    "crow",
    "crying_baby",
    "dog",
    "door_wood_creaks",
    "door_wood_knock",
    "drinking_sipping",
    "engine",
    "fireworks",
    "footsteps",
    "frog",
    "glass_breaking",
    "hand_saw",
    "helicopter",
    "hen",
    "insects",
    "keyboard_typing",
    "laughing",
    "mouse_click",
    "pig",
    "pouring_water",
    "rain",
    "rooster",
    "sea_waves",
    "sheep",
    "siren",
    "sneezing",
    "snoring",
    "thunderstorm",
    "toilet_flush",
    "train",
    "vacuum_cleaner",
    "washing_machine",
    "water_drops",
    "wind",
]

if __name__ == "__main__":
    main()
