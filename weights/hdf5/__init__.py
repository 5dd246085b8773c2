"""HDF5 read by hand: of the format only what a weight file needs, and no byte of it goes to HDF5's C code.

That code trusts what it reads: one flipped bit can make it loop, and a compressed chunk that unpacks to less
than it declares is read past its buffer. Here every address and every length is compared with the file before
it is followed. What the parts of a file are is said in the HDF5 File Format Specification, version 3.0.
"""
