"""What a suite lists: its signed list and its indexes, read and chosen."""
