"""The files that people own: sources, speakers, transcripts, glossary."""
