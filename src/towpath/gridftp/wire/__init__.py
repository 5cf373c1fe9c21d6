"""What goes over the wire, without I/O: commands, replies, listings, blocks, markers and ranges."""
