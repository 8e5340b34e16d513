"""Scores over the whole vocabulary, V × V, in tiles that are never all in memory."""
