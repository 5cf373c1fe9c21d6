"""Where endpoints that no one can dial meet the service."""
