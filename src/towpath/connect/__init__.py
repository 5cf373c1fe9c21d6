"""An endpoint to install: a GridFTP server that is reached through the tunnel it holds to a relay."""
