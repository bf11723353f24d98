"""The wire: everything a job sends and receives passes here, and nothing passes undecided."""
