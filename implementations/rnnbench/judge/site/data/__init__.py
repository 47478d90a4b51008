"""Everything that the site's pages show, as it is read from the disk."""
