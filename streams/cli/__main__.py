"""``python -m streams.cli``: the ``gnomon`` command where it is not on the path."""

from streams.cli.main import main

main()
