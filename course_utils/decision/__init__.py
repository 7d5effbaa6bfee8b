"""The ordered questions and the cost model (notebooks 00 and 09)."""
