"""What models are asked: word lists, category prompts, matched prompts and prompts that hold successions."""
