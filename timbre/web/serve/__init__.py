"""The voice as a server: OpenAI's speech API over the engine of `timbre.synthesis`, and a page to try it."""
