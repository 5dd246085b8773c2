"""From a network to its channel map: one traced graph, and a rule per kind of op."""
