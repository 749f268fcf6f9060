"""Comparison of two builds in turns, for `make bench-ab`.

Ratios of single runs move by a tenth on shared machines. So both builds run side by side, each round measures one right
after the other, and the report gives the median of the rounds' paired differences with its confidence interval.
"""
