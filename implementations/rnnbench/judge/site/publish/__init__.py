"""The publisher: `publish` writes a site; `graphs` and `explorer` make the explorer's files."""
