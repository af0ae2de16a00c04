"""The page on which people correct transcripts."""
