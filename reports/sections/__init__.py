"""Parts of pages, from what was read: tables, figures and charts."""
