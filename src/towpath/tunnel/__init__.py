"""The words that an agent, a relay and the service say to each other. A leaf, no I/O."""
