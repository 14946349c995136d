"""The subcommands of `headrace`, a module each."""
