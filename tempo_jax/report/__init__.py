"""What users get to see of a trajectory: files, tables, pictures, one HTML page."""
