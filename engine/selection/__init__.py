"""What allocations are made of: groups that take part, orders of removal, rates, plans."""
