"""What runs things: task groups, threads, processes and the limits of the operating system. Knows
nothing of pipelines, bytes or versions.
"""
