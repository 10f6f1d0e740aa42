"""Ways to prove that a host cannot run its guests any more."""
