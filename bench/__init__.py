"""Benchmarks: `make bench`, or `python -m bench`. Each prints its number and the ratio to a limit measured in the same run."""
