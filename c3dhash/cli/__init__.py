"""The command line: arguments and printing only. Results go to stdout, progress and logs to stderr."""

from c3dhash.cli.main import main

__all__ = ["main"]
