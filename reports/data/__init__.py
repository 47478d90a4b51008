"""Everything that the pages of this suite show, as it is read from the disk."""
