"""Synchronous file operations at endpoints: ls, stat, mkdir, rename. Bounded in time and number."""
