"""``python -m towpath.cli``, as ``up`` starts its workers."""

from towpath.cli import main

main(prog_name="towpath")
