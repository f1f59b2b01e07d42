"""What is recorded beside versions: artifacts, content, remotes, runs."""
