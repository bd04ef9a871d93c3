"""The commands of `python -m tools.benchmark`; importing this registers them all."""

from tools.benchmark.commands import learning, programs, propagation
from tools.benchmark.commands.app import app

__all__ = ["app", "learning", "programs", "propagation"]
