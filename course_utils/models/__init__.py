"""Model weights: which ones, where from, how they are checked and loaded."""
