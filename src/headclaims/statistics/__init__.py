"""Intervals by resampling, null populations, verdicts and their flags: it knows neither model nor head."""
