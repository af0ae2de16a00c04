"""How a voice is taught: what, in which order, and what it costs."""
