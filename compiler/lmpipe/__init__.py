"""lmpipe."""
