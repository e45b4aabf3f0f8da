"""The command line. Exit codes: 0 done, 1 something is wrong and was said, 2 bad arguments."""

from okienko.core.cli.app import main

__all__ = ["main"]
