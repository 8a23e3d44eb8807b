"""Publishing on the Hub: folders, cards, messages."""
