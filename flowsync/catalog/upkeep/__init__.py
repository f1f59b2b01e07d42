"""The catalog's part of clean-up, verification, reclaiming and removal."""
