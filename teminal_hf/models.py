"""Load and save checkpoints: plain `ClapModel` + `ClapProcessor`, safetensors only."""

from pathlib import Path

from peft import PeftModel
from transformers import ClapModel, ClapProcessor

from teminal_hf.stages import merged
from teminal_hf.tokens import forget_truncation
from teminal_hf.towers import detach_split_forward, plain_clap

CLAP_MINI = "clap-mini"  # the embedded base, for demo and tests


def load_clap(name: str) -> tuple[ClapModel, ClapProcessor]:
    """A `ClapModel` in float32 and its processor, from a folder, a Hub id, or "clap-mini", the embedded one.

    The processor comes back with `padding="pad"`: the usual `repeatpad` tiles a short recording (A, B, A, B), which
    destroys its order.

    Raises:
        ValueError: a fused checkpoint.
        OSError: nothing there, no safetensors file, or not downloaded yet while offline.
    """
    place = Path(__file__).with_name("clap_mini") if name == CLAP_MINI else name
    # Safetensors only: the alternative is a pickle, which runs code when it is read.
    model = ClapModel.from_pretrained(place, use_safetensors=True, dtype="float32")
    plain_clap(model)
    processor = ClapProcessor.from_pretrained(place)
    processor.feature_extractor.padding = "pad"
    forget_truncation(processor)
    return model.eval(), processor


def save_clap(model: ClapModel | PeftModel, processor: ClapProcessor, folder: str | Path) -> ClapModel:
    """Write a plain checkpoint that `from_pretrained` loads without this package; adapters are merged in."""
    plain = merged(model)
    detach_split_forward(plain)
    plain.save_pretrained(folder)
    processor.save_pretrained(folder)
    return plain
