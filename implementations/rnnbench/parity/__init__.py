"""Parity: whether a candidate computes what the float64 oracle computes, within a derived budget.

oracle     the reference: equations and gradients in NumPy
budget     how far rounding alone may take a result from it
problem    one case with its inputs and the oracle's answer
candidate  calls whatever is checked: a backend, a module or a function
check      `rnnbench.check`: every quantity of every case against its budget
contract   what each backend supports, as the README's table
"""
