"""The subcommands of `teminal`, one module each; `register(commands)` adds its parser."""
