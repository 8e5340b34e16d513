"""Checkpoints that were trained here from a seed, at several steps: nobody constructed their heads."""
