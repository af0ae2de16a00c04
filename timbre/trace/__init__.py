"""Where a sound comes from and what was made of it: the way back and the way forward through one version's tables."""
