"""Digests of bodies: computed inline or in worker processes, compared with what was promised."""
