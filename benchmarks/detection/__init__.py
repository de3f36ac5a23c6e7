"""How soon changes are found and how often there was none: ours against River's detectors, a CUSUM and dummies, losses included.

``python -m benchmarks.detection [ROW ...] [--quick]``. A row's seed is the checksum of its name: fixed before anything was measured.
"""
