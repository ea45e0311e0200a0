"""``python -m araflow``: the same as the ``araflow`` command."""

from araflow.cli import main

main(prog_name="araflow")
