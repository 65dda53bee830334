"""`python -m midstream` is `midstream`."""

from midstream.cli import main

main()
