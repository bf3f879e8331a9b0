"""`python -m neuroseg.cli`."""

from neuroseg.cli import main

main()
