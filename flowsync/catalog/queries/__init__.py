"""Questions about complete versions."""
