"""Timbre: a voice, versioned like code. The library that stages and commands share."""
