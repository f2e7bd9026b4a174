"""`lmpipe migrate`: rewrite a DSPy file, and compare what both ask (`lmpipe[migrate]`)."""
