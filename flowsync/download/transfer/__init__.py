"""One try at a body, whatever brings it: what is asked, what was answered, where the bytes go."""
