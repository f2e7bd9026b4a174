"""Examples from traces and data sets of other tools: see `import_examples`."""
