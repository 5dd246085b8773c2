"""Weight files: the HDF5 store, name styles, other formats; knows no engine."""
