"""The golden run: what every method, rule, objective and condenser gives on `digits`, as digests of its numbers."""
