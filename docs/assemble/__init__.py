"""The pages of the documentation site, put together from all over the repository.

`docs/` holds the pages that are written by hand. The reference comes from the public names, the
gallery from `programs/`, and the changelog from the root, so that nothing is copied by hand.
"""
