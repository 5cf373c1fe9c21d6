"""The routes of Timers."""
