"""Coqui XTTS-v2: a GPT-2 says sound codes after a reference's latents and text; a vocoder is fed by its states.

Models, files and text so far: `voice.family` does not take it yet.
"""
