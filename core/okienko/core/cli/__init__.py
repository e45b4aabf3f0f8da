"""The command line. Exit codes: 0 done, 1 something went wrong and was said, 2 wrong arguments or settings."""

from okienko.core.cli.app import main

__all__ = ["main"]
