"""What the service knows and does of Connect: setup, keys, configuration, mappings, presence."""
