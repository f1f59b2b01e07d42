"""The blob store on a local file system."""
