"""Speed comparisons; run ``python -m benchmarks.compare --help`` from the repository's root."""
