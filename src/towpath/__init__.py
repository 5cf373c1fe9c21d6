"""Towpath: managed file transfer that anyone can host."""

__version__ = "0.1.0"
