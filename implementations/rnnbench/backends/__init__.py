"""One module or folder per implementation of the cells; none imports another."""
