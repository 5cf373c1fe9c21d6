"""The web interface as it is served: the files that `web/` is built into, and nothing else."""
