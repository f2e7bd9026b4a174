"""The files that are copied beside exported prompts; they import nothing of lmpipe."""
