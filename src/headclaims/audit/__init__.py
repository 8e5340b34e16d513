"""An audit: settings, the checkpoint with its prompts, and all that a claim may ask, computed when asked for."""
