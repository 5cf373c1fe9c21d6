"""Data connections with ourselves at one end, whichever end that is."""
