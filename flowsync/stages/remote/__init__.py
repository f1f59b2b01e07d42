"""Downloads in worker processes: the stage that stands for them, and what crosses."""
