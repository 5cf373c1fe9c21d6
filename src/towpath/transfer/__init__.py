"""The transfer service: endpoints, browsing, tasks, and the engine that carries tasks out."""
