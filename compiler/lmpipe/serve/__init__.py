"""HTTP servers over compiled programs; see docs/serving-programs.md."""
