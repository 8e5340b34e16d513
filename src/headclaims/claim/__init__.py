"""Claim sets, read from folders, and claims, judged by their thresholds."""
