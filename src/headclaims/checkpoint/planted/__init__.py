"""Constructed checkpoints: one on which every claim holds, counterfeits of it, and random ones."""
