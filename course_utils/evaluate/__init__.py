"""Scores, and how sure we are of them (notebook 05)."""
