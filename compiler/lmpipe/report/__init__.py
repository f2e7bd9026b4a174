"""What people see of a compile: tables, live progress, and the report page of a run folder."""
