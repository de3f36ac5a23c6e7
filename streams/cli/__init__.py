"""The command line: a file per command; ``main`` puts them together. Heavy imports stand inside the functions that need them."""
