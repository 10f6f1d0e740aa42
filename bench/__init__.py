"""Benchmarks: segue beside its peers, on the same machine, guest and load; raw samples under out/bench/."""
