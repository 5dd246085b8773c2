"""What is done to the modules of any network: fitted to shapes, left blank, given guests."""
