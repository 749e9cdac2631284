"""Measurements, as ratios against a reference that is timed in the same run."""
