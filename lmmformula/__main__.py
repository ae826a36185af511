"""``python -m lmmformula``."""

import sys

from lmmformula.cli import main

sys.exit(main())
