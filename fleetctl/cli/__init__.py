"""The command line: Typer commands, each a few lines, and every rendering. It decides nothing."""
