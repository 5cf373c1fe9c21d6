"""Storages: what a GridFTP server stores to ("data storage interface"). Usable alone."""
