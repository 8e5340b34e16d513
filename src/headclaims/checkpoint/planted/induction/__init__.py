"""The construction `induction`: a previous-token head in layer 0, an induction head in layer 1, and counterfeits."""
