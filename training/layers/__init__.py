"""The parts of the network, each in the graph that is exported."""
