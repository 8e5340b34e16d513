"""Counterfeits: checkpoints made like the planted one with one property changed, to prove that each claim can fail.

Every docstring says what is changed and derives which claims must fall and which of the others it puts in doubt; all
others must stand. The same is in `fixtures/data/counterfeits.toml`, as data that `make mutants` compares. Numbers are
those of `planted`: kin at SAME = 5.85 nats, the word itself D = 0.85 below, BOS at 5.8; on a row with kin about 3.4 of
them, 0.7 earlier copies and 62 other words at 0, which gives kin 0.65 of the row. Scores are in nats, ŝ² = 768 · share.
"""
