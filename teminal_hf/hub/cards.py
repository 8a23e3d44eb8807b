"""Cards: README.md of what is published on the Hub, filled in from the templates in `hub_cards/`."""

from pathlib import Path
from typing import Any

from huggingface_hub import CardData, DatasetCard, DatasetCardData, ModelCard, ModelCardData, SpaceCard, SpaceCardData

from teminal_hf.storage.packaged import cards_folder

CARD = "README.md"
PAPER = "2408.09269"
GRADIO_VERSION = "6.31.0"  # the tested one; Spaces run on it
DATASET, METRIC, ORDER_METRIC = "teminal/esc50-temporal", "teminal/zste", "teminal/clap_order"  # their names on the Hub

CITATION = """\
@article{sinha2024teminal,
  title   = {Enhancing Audio-Language Models through Self-Supervised Post-Training with Text-Audio Pairs},
  author  = {Sinha, Anshuman and Migozzi, Camille and Rey, Aubin and Zhang, Chao},
  journal = {arXiv preprint arXiv:2408.09269},
  year    = {2024}
}
"""

_CARDS = {ModelCardData: ModelCard, DatasetCardData: DatasetCard, SpaceCardData: SpaceCard}


def render_card(template: str, data: CardData, **facts: Any) -> str:
    """The text of a card: `data` as its YAML header, `facts` in `hub_cards/<template>`."""
    card = _CARDS[type(data)].from_template(data, template_path=str(cards_folder() / template), **facts)
    return str(card)


def is_local(name: str) -> bool:
    """Whether a checkpoint or source is a path of this machine, and no Hub id."""
    return bool(name) and (Path(name).is_absolute() or Path(name).exists())


def public_name(name: str) -> str:
    """A Hub id as it is; of a path, whose folders are nobody else's concern, the last part."""
    return Path(name).resolve().name if is_local(name) else name
