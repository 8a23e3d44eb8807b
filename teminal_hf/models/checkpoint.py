"""Load and save checkpoints: plain `ClapModel` + `ClapProcessor`, safetensors only."""

from pathlib import Path

from peft import PeftModel
from transformers import AutoConfig, ClapModel, ClapProcessor

from teminal_hf.errors import CheckpointError
from teminal_hf.hub.offline import saying_what_to_fetch
from teminal_hf.models.split import detach_split_forward, unwrap_clap
from teminal_hf.models.stages import merged
from teminal_hf.models.tokenizer import forget_truncation

CLAP_MINI = "clap-mini"  # the embedded base, for demo and tests


def checkpoint_path(name: str) -> str | Path:
    """Where `from_pretrained` finds a checkpoint: `name` itself, or the folder of the embedded one."""
    return Path(__file__).with_name("clap_mini") if name == CLAP_MINI else name


def load_clap(name: str) -> tuple[ClapModel, ClapProcessor]:
    """A `ClapModel` in float32 and its processor, from a folder, a Hub id, or "clap-mini", the embedded one.

    The processor comes back with `padding="pad"`: the usual `repeatpad` tiles a short recording (A, B, A, B), which
    destroys its order.

    Raises:
        CheckpointError: a fused checkpoint, or no CLAP at all.
        OSError: nothing there, no safetensors file, or not downloaded yet while offline.
    """
    place = checkpoint_path(name)
    with saying_what_to_fetch(str(place), f"hf download {name}"):
        kind = AutoConfig.from_pretrained(place).model_type
    if kind != "clap":
        raise CheckpointError(f"{name} is a {kind!r} checkpoint; a CLAP one (model_type 'clap') is needed")
    with saying_what_to_fetch(str(place), f"hf download {name}"):
        # Safetensors only: the alternative is a pickle, which runs code when it is read.
        model = ClapModel.from_pretrained(place, use_safetensors=True, dtype="float32")
        processor = ClapProcessor.from_pretrained(place)
    unwrap_clap(model)
    processor.feature_extractor.padding = "pad"
    forget_truncation(processor)
    return model.eval(), processor


def save_clap(model: ClapModel | PeftModel, processor: ClapProcessor, folder: str | Path) -> ClapModel:
    """Write a plain checkpoint that `from_pretrained` loads without this package; adapters are merged in."""
    plain = merged(model)
    detach_split_forward(plain)
    forget_truncation(processor)  # whatever it was used for before
    plain.save_pretrained(folder)
    processor.save_pretrained(folder)
    return plain
