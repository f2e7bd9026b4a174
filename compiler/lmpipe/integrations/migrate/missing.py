"""What to install where a package is missing."""

NEEDS_LIBCST = "lmpipe migrate needs a package that is not installed: pip install 'lmpipe[migrate]'"
