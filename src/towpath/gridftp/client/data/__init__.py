"""Data channels with ourselves at one end: files and listings between here and a server."""
