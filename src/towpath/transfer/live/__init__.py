"""Live progress: one connection that listens, and a listener for each stream."""
