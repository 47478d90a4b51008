"""Backpropagation through time, as every backend with a hand-derived backward pass uses it.

recurrence    the interface of one layer in one direction
stack         layers, directions, dropout: one pass over a whole network
call          one call of a network: what autograd keeps of it
autograd      the stack as a differentiable function of torch
second_order  derivatives of the backward pass;  linearised  Jacobians of one layer
"""
