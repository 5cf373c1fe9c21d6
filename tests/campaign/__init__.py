"""The fault campaign: random tasks under random faults, and what became of every file.

`ground` is what it runs on, `tasks` draws what is asked for, `makers` break things, `audit` and
`truth` know what is right, `report` tells it. `python -m campaign` runs it, see its `--help`.
"""
