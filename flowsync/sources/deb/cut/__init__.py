"""What a mirror with rules keeps of a suite, and the indexes that it makes of that."""
