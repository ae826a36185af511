"""The command line: ``lmmformula fit|plan|compare|predict|datasets``, also ``python -m lmmformula``."""

from lmmformula.cli.process import main

__all__ = ["main"]
