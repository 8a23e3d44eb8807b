"""The subcommands of `teminal`, one module each: flags and prints, imported when they are chosen."""
