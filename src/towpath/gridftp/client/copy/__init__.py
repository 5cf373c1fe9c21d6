"""One command, one copy: files and trees between here and servers, and between two servers."""
