"""What a merge leaves behind: weight files, adapters, everything beside them, and their checks."""
