"""Every number the README states, measured in one run: `make bench`. Nothing here asserts; it prints."""
