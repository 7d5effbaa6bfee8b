"""From hits to an answer with its source (notebooks 01 and 05)."""
