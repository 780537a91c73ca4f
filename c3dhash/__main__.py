"""`python -m c3dhash` is the `c3dhash` command."""

from c3dhash.cli import main

main()
