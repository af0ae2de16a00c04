"""The page on which people record themselves."""
