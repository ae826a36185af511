"""``python -m lmmformula.cli``."""

import sys

from lmmformula.cli.process import main

sys.exit(main())
