"""What others plug into, and what lmpipe plugs into: one folder each."""
