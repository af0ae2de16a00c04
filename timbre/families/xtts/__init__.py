"""Coqui XTTS-v2: a GPT-2 says sound codes after a reference's latents and text; a vocoder is fed by its states."""
