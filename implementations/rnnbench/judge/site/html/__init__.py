"""Text, figures, charts and templates: what pages are written with."""
