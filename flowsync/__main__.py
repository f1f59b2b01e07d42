"""`python -m flowsync`: the command line, for an interpreter whose scripts are not on PATH."""

from flowsync.cli.main import main

main()
