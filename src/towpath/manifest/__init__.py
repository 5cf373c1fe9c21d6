"""Manifests: signed lists of what a transfer brought where. A leaf; all but `verify` does no I/O.

What is in one, line by line, is in docs/reference/manifest.md.
"""
