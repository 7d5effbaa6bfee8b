"""From documents to chunks to hits (notebooks 01 to 04)."""
