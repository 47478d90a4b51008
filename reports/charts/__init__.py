"""Charts of this suite, from the parts in `rnnbench.judge.site.html.svg`."""
