"""Counterfeits: checkpoints made like the planted one with one property changed, to prove that each claim can fail.

Every docstring says what is changed and derives which claims must fall ("falls"), which may do either ("in doubt"), and
which cannot be assessed any more ("lapses"); all others must stand. The same is in the claim set's `counterfeits.toml`,
as data with which `make mutants` compares. Numbers are those of `planted`: kin score SAME = 5.85 nats, the word itself
D = 0.85 less, BOS 5.8; a row with kin has about 3.4 of them, 0.7 earlier copies and 62 other words at 0, which gives
kin 0.65 of the row. Scores are in nats; ŝ² = 768 · share is the squared norm in a subspace where the target reads it.
"""
