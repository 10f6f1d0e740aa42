"""The main job shown on one machine, with real hosts, a real guest and a real client."""
