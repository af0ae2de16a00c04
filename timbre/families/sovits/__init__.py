"""GPT-SoVITS v2 and v2Pro: stage 1 says semantic codes after phones, stage 2 speaks them in a reference's voice.

Models, files and text so far: `voice.family` does not take it yet.
"""
