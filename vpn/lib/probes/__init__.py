"""Looking at this machine and its network without changing anything, and without root. The standard library only."""
