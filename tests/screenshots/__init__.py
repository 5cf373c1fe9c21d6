"""`make screenshots`: every page of the web interface, as pictures in docs/images/web."""
