"""What a logged-in session can be asked for: a handler for each request, by theme."""
