"""Nexus' SQL, and nowhere else."""
