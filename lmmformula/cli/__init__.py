"""The command line: ``lmmformula fit|plan|compare|select|predict|datasets``, also ``python -m lmmformula``."""

from lmmformula.cli.process import main

__all__ = ["main"]
