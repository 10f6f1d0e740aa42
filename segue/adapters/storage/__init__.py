"""Disks as files: what they are, made, shared out over NBD, and kept for a while."""
