"""From examples to an adapter (notebooks 06 and 07)."""
