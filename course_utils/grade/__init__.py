"""Graded exercises: definitions, judging, the answers file, views, the gradebook."""
