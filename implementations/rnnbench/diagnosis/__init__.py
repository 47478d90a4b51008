"""Find where an implementation departs from the oracle, and which known mistake explains it.

examine                                     `rnnbench.diagnose`: start here
usage                                       the arguments, checked before any work
adapter, signature, slots, weights,
parametrised, layouts, guard, limit         call somebody's program without harm
repeat                                      whether two equal calls give equal answers
trials                                      problems, answers, the layout that fits
locate, cuts, time_invariance               the first departure, by cutting sequences
causes                                      the known mistake that gives the same numbers
findings, account, page, result             the outcome as data, as text, as a page
process, child                              the same in a process of its own, for files
"""
