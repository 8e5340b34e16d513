"""The claim sets that ship, in their order: the first is what a command takes that is about one set."""

ORDER = ("self_hating_head", "induction_heads")
