"""The sub-commands, one file each; every file holds its click command as `command`."""
