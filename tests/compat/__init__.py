"""Every command of the unmodified `globus` program against a whole deployment."""
