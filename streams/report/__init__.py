"""The report as one self-contained web page: no script, no network, every text escaped."""

from streams.report.page import render

__all__ = ["render"]
