"""Entries of a folder, brought to what they should be: computed, kept, put back or removed (refresh.py)."""
