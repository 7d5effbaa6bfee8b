"""What makes it a course: claims, figures, explorers, running the notebooks."""
