"""``python -m widebasin`` is the command ``widebasin``."""

from widebasin.cli import main

main()
