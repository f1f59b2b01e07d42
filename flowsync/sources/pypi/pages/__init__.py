"""The list of an index and the pages of its projects: read, and written."""
