"""Cards: README.md of what is published on the Hub, filled in from the templates in `hub_cards/`."""

from typing import Any

from huggingface_hub import CardData, DatasetCard, DatasetCardData, ModelCard, ModelCardData, SpaceCard, SpaceCardData

from teminal_hf.places import cards_folder

_CARDS = {ModelCardData: ModelCard, DatasetCardData: DatasetCard, SpaceCardData: SpaceCard}


def render_card(template: str, data: CardData, **facts: Any) -> str:
    """The text of a card: `data` as its YAML header, `facts` in `hub_cards/<template>`."""
    card = _CARDS[type(data)].from_template(data, template_path=str(cards_folder() / template), **facts)
    return str(card)
