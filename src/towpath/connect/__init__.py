"""An endpoint to install: a GridFTP server that is reached through its tunnel to a relay."""
