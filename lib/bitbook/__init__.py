"""Weight compression by shared values: one file format, one ruler, five papers."""
