"""`python -m palijet` is `palijet`."""

from .cli import main

main()
