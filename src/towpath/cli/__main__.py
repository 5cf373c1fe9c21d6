"""``python -m towpath.cli``, as ``up`` starts its workers."""

from towpath.start import main

main()
