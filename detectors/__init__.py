"""What we think: the join rule, statistics, panes, evidence, incidents. No input or output, no clock, no global random."""
