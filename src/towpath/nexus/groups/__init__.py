"""Groups of people, as the Globus Groups API (v2) has them; and people's profiles."""
