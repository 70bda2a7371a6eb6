"""What every room of the package uses: errors, validation, settings, cache, files."""
