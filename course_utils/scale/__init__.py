"""Beyond one process: Ray, Qdrant, torchrun (notebook 10)."""
