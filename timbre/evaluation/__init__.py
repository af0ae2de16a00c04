"""Is a voice better than another, and how sure is that? What `evaluate` measures, and how details.json is read."""
