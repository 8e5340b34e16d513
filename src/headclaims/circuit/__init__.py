"""A head's circuits: W_QK and its parts, spectra, scatter, the effective embedding and patterns from it."""
