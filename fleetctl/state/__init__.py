"""What fleetctl remembers between runs: the store, the run lock, and copies of what jobs run. Speaks to no host."""
