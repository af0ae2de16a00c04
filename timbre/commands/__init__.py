"""The subcommands of `timbre`, one module each; timbre/commands/cli.py says what a module must have."""
