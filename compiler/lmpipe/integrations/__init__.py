"""What connects lmpipe with other frameworks; each needs an extra and is imported by its name."""
