"""Whatever comes: campaigns of random and bent input against the parts of the server that meet it.

`make fuzz SECONDS=n` runs all of them. Each input has a seed of its own, which a finding names.
"""
