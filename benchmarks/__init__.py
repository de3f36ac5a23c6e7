"""Figures, not tests: how fast the whole path is, and how long an alarm takes. Each prints the command, the commit and the machine."""
