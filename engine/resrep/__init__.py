"""ResRep: compactors on any network, their training, and folding them into a narrow one."""
