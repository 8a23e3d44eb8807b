"""What a training will cost: counts of a recipe, measured constants of a machine and a model, and their product."""
