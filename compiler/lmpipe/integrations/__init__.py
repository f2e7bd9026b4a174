"""Programs and tools of other packages, each in a folder that is imported only when it is used."""
