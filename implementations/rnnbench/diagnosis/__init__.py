"""Find where an implementation departs from the oracle, and which known mistake explains it.

examine                                     `rnnbench.diagnose`: start here
usage                                       the arguments, checked before any work
candidates, inference, words, heads         what a program is: network, weights, what is around it
adapter, signature, slots, weights,
renaming, parametrised, layouts, guard,
limit                                       call somebody's program without harm
repeat                                      whether two equal calls give equal answers
trials                                      problems, and answers beside the oracle's
recognition                                 the layout that fits
locate, cuts, time_invariance               the first departure, by cutting sequences
causes                                      the known mistake that gives the same numbers
observed, resemblance                       what else the calls and the numbers show
findings, account, page, result             the outcome as data, as text, as a page
process, child                              the same in a process of its own, for files
"""
