"""`python -m teminal_hf`: the `teminal` command."""

from teminal_hf.commands.cli import main

main()
