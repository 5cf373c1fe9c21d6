"""The engine in a simulated world: virtual time, endpoints that fail by seed, workers that die.

`python -m simulation --help`, or `make simulate`. What it shows is told in
docs/explanation/reliability.md.
"""
