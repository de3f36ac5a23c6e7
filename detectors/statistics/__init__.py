"""Statistics of predictions and labels: exact sums behind River's interface, one class a file."""
