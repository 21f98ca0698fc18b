"""The demo: a mention that escalates to an e-mail, with nothing in it that is not real.

A PostgreSQL of its own, a node as a child process, an SMTP server on loopback. It is played in
seconds, and judged by what arrived and by what the rows say: they must agree.
"""

from chimeway.demo.playing import play
from chimeway.demo.report import Happening, Mail, Report

__all__ = ["Happening", "Mail", "Report", "play"]
