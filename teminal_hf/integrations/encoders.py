"""Encoders by the name of a checkpoint, and of models that were loaded elsewhere."""

from pathlib import Path
from typing import Any

from transformers import ClapModel

from teminal_hf.errors import CheckpointError, ConfigError, MissingExtraError
from teminal_hf.integrations.foreign_encoders import (
    LaionClapEncoder,
    MsClapEncoder,
    MtebEncoder,
    SentenceTransformerEncoder,
)
from teminal_hf.models.checkpoint import PE_AUDIO, first_line, load_checkpoint, saying_what_is_wrong, type_of
from teminal_hf.models.embed import encoder_of
from teminal_hf.models.encoder import Encoder

_MEMBERS = ("sampling_rate", "max_seconds", "logit_scale", "embed_audio", "embed_text")
# What an object has -> what makes an encoder of it. The first that fits is taken.
_SHAPES = (
    (("get_audio_embedding_from_data", "get_text_embedding"), LaionClapEncoder),
    (("get_audio_embeddings", "get_text_embeddings", "args"), MsClapEncoder),
    (("encode", "mteb_model_meta"), MtebEncoder),
    (("encode", "get_embedding_dimension"), SentenceTransformerEncoder),
)


def load_encoder(name: str) -> Encoder:
    """The model of a checkpoint (folder, Hub id, or "clap-mini") for evaluation: CLAP, PE-Audio, PE-Audio-Video, or
    what sentence-transformers has saved.

    Raises:
        CheckpointError: another kind of model, or one that is not whole (see `load_clap`).
        NotFoundError: nothing there.
        OfflineError: not downloaded yet while offline.
        MissingExtraError: a package that it needs is not installed, such as sentence-transformers.
    """
    name = str(name)
    if (Path(name) / "modules.json").is_file():
        return SentenceTransformerEncoder(_sentence_transformer(name))
    try:
        kind = type_of(name)
    except ImportError as error:  # before 5.23 transformers wants timm for the configuration of PE-Audio-Video
        raise MissingExtraError(f"{name} cannot be opened by what is installed: {first_line(error)}") from error
    if kind in ("clap", *PE_AUDIO):
        return encoder_of(*load_checkpoint(name))
    raise CheckpointError(
        f"{name} is a {kind!r} checkpoint; clap, {', '.join(PE_AUDIO)} and what sentence-transformers has saved are "
        "opened by name. Any other model: ask it in Python, with an object that has "
        f"{', '.join(_MEMBERS)} (teminal_hf.Encoder)"
    )


def as_encoder(model: Any) -> Encoder:
    """An object as an encoder: one already, a `SentenceTransformer`, an encoder of mteb, laion_clap's `CLAP_Module`,
    msclap's `CLAP`. A `ClapModel` needs its processor: `ClapEncoder(model, processor)`; open_clip's models need more as
    well: `OpenClipEncoder(model, preprocess, tokenizer)`; for two functions there is `FunctionEncoder`.

    Raises:
        ConfigError: none of these.
    """
    if all(hasattr(model, member) for member in _MEMBERS):
        return model
    for members, adapter in _SHAPES:
        if all(hasattr(model, member) for member in members):
            return adapter(model)
    hint = "; give it with its processor: ClapEncoder(model, processor)" if isinstance(model, ClapModel) else ""
    missing = ", ".join(member for member in _MEMBERS if not hasattr(model, member))
    raise ConfigError(f"{type(model).__name__} is no encoder{hint}: it lacks {missing}; see teminal_hf.Encoder")


def _sentence_transformer(name: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise MissingExtraError(
            f"{name} was saved by sentence-transformers, which is not there: pip install sentence-transformers"
        ) from error
    with saying_what_is_wrong(name, name):
        return SentenceTransformer(name, trust_remote_code=False, model_kwargs={"use_safetensors": True})
