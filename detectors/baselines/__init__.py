"""Baselines: what a monitor compares with, how sure of it, and how dependent its data are."""
