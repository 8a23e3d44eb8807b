"""Load and save checkpoints: plain models of transformers and their processors, safetensors only."""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import try_to_load_from_cache
from peft import PeftModel
from torch import nn
from transformers import (
    AutoConfig,
    AutoTokenizer,
    ClapModel,
    ClapProcessor,
    PeAudioFeatureExtractor,
    PeAudioModel,
    PeAudioProcessor,
)

from teminal_hf.errors import CheckpointError, DivergedError, NotFoundError, TeminalError
from teminal_hf.hub.offline import saying_what_to_fetch
from teminal_hf.models.fitness import processor_amiss
from teminal_hf.models.fusion import with_fusion, without_fusion
from teminal_hf.models.split import TrainedModel, detach_split_forward
from teminal_hf.models.stages import merged
from teminal_hf.models.tokenizer import fit_to_towers
from teminal_hf.storage.atomic import follow_umask, no_full_disk

ANOTHER = "take it from its source again, or an earlier checkpoint of the run"
PE_AUDIO = ("pe_audio", "pe_audio_video")  # model types
CLAP_MINI = "clap-mini"  # the embedded base, for demo and tests


def checkpoint_path(name: str) -> str | Path:
    """Where `from_pretrained` finds a checkpoint: `name` itself, or the folder of the embedded one."""
    return Path(__file__).with_name("clap_mini") if name == CLAP_MINI else name


def load_checkpoint(name: str) -> tuple[TrainedModel, Any]:
    """The model of a checkpoint and its processor, to be trained or asked: a CLAP as by `load_clap`, a PE-Audio, or the
    audio part of a PE-Audio-Video.

    Raises:
        CheckpointError: another kind of model, or one that is not whole.
        NotFoundError, OfflineError: as `load_clap`.
    """
    name = str(name)
    kind = type_of(name)
    if kind == "clap":
        return _open_clap(name)
    if kind in PE_AUDIO:
        with saying_what_is_wrong(name, name):
            return _load_pe_audio(name)
    raise CheckpointError(
        f"{name} is a {kind!r} checkpoint; those of CLAP ('clap') and of PE-Audio ({', '.join(map(repr, PE_AUDIO))}) "
        "can be trained"
    )


def load_clap(name: str) -> tuple[ClapModel, ClapProcessor]:
    """A `ClapModel` in float32 and its processor, from a folder, a Hub id, or "clap-mini", the embedded one.

    A fused one, such as laion/clap-htsat-fused, comes back unfused (see `without_fusion`): all that is composed here
    fits its window. `save_checkpoint` puts the fusion back.

    The processor comes back with `padding="pad"`: the usual `repeatpad` tiles a short recording (A, B, A, B), which
    destroys its order. Its tokenizer gives what the model takes, and no `token_type_ids`.

    Raises:
        CheckpointError: no CLAP, one of the fusion "channel_map", or one that is not whole: no safetensors file,
            weights that are missing, not finite, of other sizes than the configuration's or of layers that it does not
            have, no tokenizer, a processor of another model, adapters alone.
        NotFoundError: nothing there.
        OfflineError: not downloaded yet while offline.
    """
    if (kind := type_of(name := str(name))) != "clap":
        raise CheckpointError(f"{name} is a {kind!r} checkpoint; a CLAP one (model_type 'clap') is needed")
    return _open_clap(name)


def _open_clap(name: str) -> tuple[ClapModel, ClapProcessor]:
    """What is known to be a CLAP, by `load_clap`'s rules."""
    path = checkpoint_path(name)
    with saying_what_is_wrong(name, path):
        model, amiss = read_weights(path)
        processor = ClapProcessor.from_pretrained(path)
        amiss += processor_amiss(model.config, processor, path)
    if amiss:
        raise CheckpointError(f"{name} is not whole: {amiss[0]}; {ANOTHER}; `teminal doctor {name}` examines it")
    if len(processor.tokenizer) <= len(processor.tokenizer.all_special_tokens):  # what transformers makes of no file
        raise CheckpointError(
            f"{name} has no tokenizer, or an empty one; save its base's beside the weights: "
            "`ClapProcessor.from_pretrained(BASE).save_pretrained(FOLDER)`"
        )
    processor.feature_extractor.padding = "pad"
    fit_to_towers(processor)
    return without_fusion(model, name).eval(), processor


def _load_pe_audio(path: str) -> tuple[PeAudioModel, PeAudioProcessor]:
    """The model in float32 and its processor, from a folder or a Hub id, safetensors only. Of a PE-Audio-Video
    checkpoint the audio model alone, which needs neither the rest of the weights nor timm.

    Raises:
        CheckpointError: weights are missing, and would be random, or are not finite.
    """
    config = AutoConfig.from_pretrained(path)
    loaded: Any = PeAudioModel.from_pretrained(
        path,
        config=config if config.model_type == "pe_audio" else config.audio_config,
        key_mapping={r"^audio_model\.": ""},
        use_safetensors=True,
        dtype="float32",
        output_loading_info=True,
    )
    model, loading = loaded
    found = {"are missing, and would be random": sorted(loading["missing_keys"]), "are not finite": not_finite(model)}
    for what, names in found.items():
        if names:
            raise CheckpointError(f"{path} is not whole: {len(names)} weight tensor(s) {what}: {names[0]}; {ANOTHER}")
    extractor = PeAudioFeatureExtractor.from_pretrained(path)
    return model.eval(), PeAudioProcessor(extractor, AutoTokenizer.from_pretrained(path))


def type_of(name: str) -> str:
    """Which `model_type` a checkpoint's configuration names.

    Raises:
        CheckpointError: no configuration that can be read.
        NotFoundError, OfflineError: as `load_clap`.
    """
    check_place(name)
    path = checkpoint_path(name)
    with saying_what_is_wrong(name, path):
        return str(AutoConfig.from_pretrained(path).model_type)


@contextmanager
def saying_what_is_wrong(name: str, path: str | Path) -> Iterator[None]:
    """Whatever the libraries raise over a checkpoint that they cannot read becomes an error of ours."""
    try:
        with saying_what_to_fetch(str(path), f"hf download {name}"):
            yield
    except (TeminalError, ImportError, MemoryError):
        raise
    except Exception as error:  # of any class: safetensors', tokenizers' and huggingface_hub's have no other base
        if isinstance(error, OSError) and error.errno is not None:  # of the system, not of the checkpoint
            raise
        missing = isinstance(error, OSError) and not Path(path).exists()
        what = first_line(error)
        raise (NotFoundError if missing else CheckpointError)(
            f"{name} cannot be loaded: {_in_which(path)}{what.rstrip('.:')}{_other_weights(path)}. What there is of "
            f"it, `teminal doctor {name}` says" + _cached(name)
        ) from error


def first_line(error: BaseException) -> str:
    """What an error says first; with its class where that is a bare name."""
    text = " ".join(str(error).strip().split("\n")[:1])
    return f"{type(error).__name__} {text}".strip() if isinstance(error, LookupError) or not text else text


def _in_which(path: str | Path) -> str:
    """The file of a folder that is no JSON any more, which libraries do not name."""
    for file in sorted(Path(path).glob("*.json")):
        try:
            if isinstance(json.loads(file.read_text(encoding="utf-8")), dict):
                continue
        except (ValueError, OSError):
            pass
        return f"{file.name} is damaged: "
    return ""


def _other_weights(path: str | Path) -> str:
    others = sorted(file.name for kind in ("*.bin", "*.pt", "*.pth", "*.ckpt") for file in Path(path).glob(kind))
    if not others or any(Path(path).glob("*.safetensors*")):
        return ""
    return (
        f" ({others[0]} is a pickle, which runs code when it is read, and is not: take one in safetensors, such as "
        "laion/clap-htsat-unfused)"
    )


def _cached(name: str) -> str:
    """Which file to delete should a download have been damaged: its size is all that huggingface_hub compares."""
    is_hub_id = not Path(name).exists() and name.count("/") <= 1
    cached = try_to_load_from_cache(name, "model.safetensors") if is_hub_id else None
    return f"; if its download was damaged, delete {cached} and load it again" if isinstance(cached, str) else ""


def check_place(name: str) -> None:
    """Raise a CheckpointError if `name` is a file, or a folder without a checkpoint."""
    folder = Path(checkpoint_path(name))
    if not name.strip():
        raise CheckpointError("the name of a checkpoint is empty; give a folder or a Hub id")
    if folder.is_file():
        raise CheckpointError(
            f"{name} is a file; give the folder of a checkpoint (config.json, model.safetensors, processor) or a Hub "
            "id. LAION's own .pt files are not read: take their converted form, such as laion/clap-htsat-unfused"
        )
    if (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file():
        raise CheckpointError(
            f"{folder} holds adapters alone (adapter_config.json), as every checkpoint-N of a LoRA run does, and no "
            "whole model. They are merged in the run's own folder once it is finished (`--resume` goes on with it); to "
            "merge these, with peft's PeftModel and the checkpoint BASE that the run began with: "
            f'`save_checkpoint(PeftModel.from_pretrained(load_clap("BASE")[0], "{folder}"), load_clap("BASE")[1], '
            '"FOLDER")`'
        )
    if folder.is_dir() and not (folder / "config.json").is_file():
        here = f"{name} ({folder.resolve()})" if folder.name in ("", "..") else name
        raise CheckpointError(f"{here} holds no config.json, and so no checkpoint; give the folder of one or a Hub id")


def read_weights(path: str | Path) -> tuple[ClapModel, list[str]]:
    """The model in float32, and what is amiss with its weights: whoever asks it first needs none of that."""
    # Safetensors only: the alternative is a pickle, which runs code when it is read. Sizes are compared here: the error
    # that transformers raises leaves to its log which tensors it is about.
    loaded: Any = ClapModel.from_pretrained(
        path, use_safetensors=True, dtype="float32", output_loading_info=True, ignore_mismatched_sizes=True
    )
    model, loading = loaded
    kinds = set(map(_in_any_layer, model.state_dict()))  # files may hold others, such as buffers of earlier versions
    found = {
        "are missing, and would be random": sorted(loading["missing_keys"]),
        "are not of the size that its config.json says": [
            f"{key} {tuple(size)} for {tuple(wanted)}" for key, size, wanted in sorted(loading["mismatched_keys"])
        ],
        "are of layers that its config.json does not have": sorted(
            key for key in loading["unexpected_keys"] if _in_any_layer(key) in kinds
        ),
        "hold NaN or infinite values": not_finite(model),
        "hold variances below 0": [
            key for key, value in model.state_dict().items() if key.endswith("running_var") and (value < 0).any()
        ],
    }
    return model, [
        f"{len(names)} weight tensor(s) {what}: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
        for what, names in found.items()
        if names
    ]


def _in_any_layer(name: str) -> str:
    return re.sub(r"\.\d+\.", ".N.", name)


def save_checkpoint(model: TrainedModel | PeftModel, processor: Any, folder: str | Path) -> TrainedModel:
    """Write a plain checkpoint that `from_pretrained` loads without this package; adapters are merged in. A CLAP that
    was opened from a fused checkpoint is a fused one again: longer recordings go through its fusion as before."""
    check_finite_weights(model)
    plain = merged(model)
    detach_split_forward(plain)
    fit_to_towers(processor)
    with no_full_disk(Path(folder)), with_fusion(plain) as tensors:
        plain.save_pretrained(folder, state_dict=tensors)
        processor.save_pretrained(folder)
    follow_umask(Path(folder))
    return plain


def check_finite_weights(model: nn.Module) -> None:
    """Raise a DivergedError that names weights which are NaN or infinite."""
    if bad := not_finite(model):
        some = ", ".join(bad[:3]) + (" ..." if len(bad) > 3 else "")
        raise DivergedError(f"{len(bad)} weight tensor(s) are not finite, and are not saved: {some}")


def not_finite(model: nn.Module) -> list[str]:
    """Names of tensors that hold NaN or infinite values."""
    # The ends of the values tell, in one pass over them and a tenth of the time of isfinite().all().
    return [
        name
        for name, value in model.state_dict().items()
        if value.numel() and not all(end.isfinite() for end in value.aminmax())
    ]
