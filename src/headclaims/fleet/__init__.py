"""Many audits: processes that stay, plans, sweeps, comparisons, emergence, homology."""
