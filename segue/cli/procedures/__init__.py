"""Procedures of maintenances that are ready to be used, as YAML; nothing here runs by itself."""
