"""Byte-exact changes to the files that people own."""
