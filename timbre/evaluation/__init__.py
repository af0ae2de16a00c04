"""Is a voice better than another, and how sure is that? What `evaluate` measures, and how metrics.json is read."""
