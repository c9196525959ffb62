"""Comparisons and sweeps over rules, settings and seeds."""
