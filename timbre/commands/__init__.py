"""The subcommands of `timbre`, one module each; timbre/cli.py says what a module must have."""
