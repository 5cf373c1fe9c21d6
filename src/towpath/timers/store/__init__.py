"""All SQL of Timers."""
