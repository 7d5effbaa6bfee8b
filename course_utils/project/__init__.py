"""A project of your own: questions, report, saved runs (notebook 05)."""
