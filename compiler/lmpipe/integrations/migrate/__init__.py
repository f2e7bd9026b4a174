"""`lmpipe migrate`: rewrite a DSPy file into lmpipe, and compare what both ask (`lmpipe[migrate]`)."""
