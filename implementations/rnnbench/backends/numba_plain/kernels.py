r"""The time loops that Numba compiles, one pair for each family of cells.

A kernel runs one layer in one direction over steps whose input projection is already there, and
backward gives what the weight gradients need, so that all products but h W_hhᵀ, μ W_hh and the
projection's stand outside, over all rows at once. The equations are in the oracle's docstring.

Arguments, all C-contiguous and of one dtype, so that each dtype has one compiled signature:

    steps      (T, 2) int64: first row and number of rows b of each step, in the order of the loop;
               a reverse direction or a backward pass is the same loop over other steps
    keep       whether a backward pass follows: then kept arrays have all N rows, otherwise they
               hold the B rows of the step at hand only
    w_hh, w_hr (G·H, P or H), (P, H); forward transposed, so that products run along rows
    gates      (N, G·H): on entry x W_ihᵀ with its biases, on return the values of the gates
    h, c       (B, P or H), (B, H): on entry the initial, on return the final state
    y          (N, P or H): output
    h_before   (N, P or H), kept: h_{t−1} of each row; c_before, tanh_c and u_n likewise, (N, H)
    dy, dh, dc gradients of y, h, c; dh and dc on entry of the final, on return of the initial state
    alpha, mu  (N, G·H): gradients of x W_ihᵀ and of h W_hhᵀ

Numba's disk cache notices a change of this file only: whatever a kernel calls must stand in it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from rnnbench.backends.numba_base import OPTIONS


@cache
def _warn_uncached() -> None:
    warnings.warn(
        "numba's kernels are compiled anew in every process, because neither the source folder nor "
        "the user's cache folder is writable; NUMBA_CACHE_DIR can name another.",
        RuntimeWarning,
        stacklevel=2,
    )


def _jit(function: Callable[..., Any]) -> Any:
    """Return the compiled function, cached on disk where a folder for it can be written."""
    try:
        return njit(cache=True, **OPTIONS)(function)
    except RuntimeError:  # "cannot cache function …: no locator available"
        _warn_uncached()
        return njit(**OPTIONS)(function)


@_jit
def sigmoid(x):
    """Return 1 / (1 + e^−x), from e^−|x|: nothing overflows and small values keep their digits."""
    e = math.exp(-abs(x))
    return (1 if x >= 0 else e) / (1 + e)


@_jit
def tanh(x):
    """Return tanh in float64 whatever x is, so that in float32 only the last rounding counts.

    Half the time of the C library's, and closer (1.3 ulp against 2 in float64). Near 0, where
    1 − 2/(e^2x + 1) would cancel, the eighth convergent of Lambert's continued fraction
    x / (1 + x²/(3 + x²/(5 + …))), whose own error is below 0.1 ulp up to 0.625.
    """
    a = abs(np.float64(x))
    if a >= 0.625:
        t = 1 - 2 / (math.exp(2 * a) + 1)
    else:
        z = a * a
        p = 675675 + z * (45045 + z * (594 + z))
        q = 2027025 + z * (945945 + z * (51975 + z * (630 + z)))
        t = a - a * z * p / q
    return math.copysign(t, x)


@_jit
def _product(x, w, out):
    """Set out to x w: (b, K)·(K, M) → (b, M), on this thread.

    Not np.dot: SciPy's BLAS starts its own threads for products of this size, and 128 steps of a
    GRU (B=16, H=128) then took 74 ms instead of 16. Four rows of w stay in the cache for all of x.
    """
    K = len(w)
    out[:] = 0
    for k in range(0, K - 3, 4):
        w0, w1, w2, w3 = w[k], w[k + 1], w[k + 2], w[k + 3]
        for i in range(len(x)):
            x0, x1, x2, x3 = x[i, k], x[i, k + 1], x[i, k + 2], x[i, k + 3]
            row = out[i]
            for j in range(len(row)):
                row[j] += x0 * w0[j] + x1 * w1[j] + x2 * w2[j] + x3 * w3[j]
    for k in range(K - K % 4, K):
        for i in range(len(x)):
            for j in range(w.shape[1]):
                out[i, j] += x[i, k] * w[k, j]


@_jit
def _add(a, b, out):
    """Set out to a + b, (b, H) each; ``out`` may be one of them."""
    for k in range(len(a)):
        a_k, b_k, out_k = a[k], b[k], out[k]
        for j in range(len(a_k)):
            out_k[j] = a_k[j] + b_k[j]


@_jit
def _rnn_row(a, u, relu):
    """Set a to φ(a + u), (H,) each."""
    for j in range(len(a)):
        a[j] += u[j]
        if not relu:
            a[j] = tanh(a[j])
        elif a[j] < 0:  # false for NaN, which so remains
            a[j] = 0


@_jit
def _rnn_row_backward(h, dh, alpha, relu):
    """Set alpha to dh ⊙ φ', (H,) each, with φ' from h = φ(a + u)."""
    one = h.dtype.type(1)
    for j in range(len(h)):
        if not relu:
            alpha[j] = dh[j] * (one - h[j] * h[j])
        elif h[j] <= 0:
            alpha[j] = 0
        else:
            alpha[j] = dh[j]


@_jit
def _gru_row(gates, u, bias_n, u_n, h):
    """Run one step of one sequence. gates, u (3·H,); the others (H,)."""
    H = len(h)
    r, z, n = gates[:H], gates[H : 2 * H], gates[2 * H :]
    for j in range(H):
        r[j] = sigmoid(r[j] + u[j])
        z[j] = sigmoid(z[j] + u[H + j])
        u_n[j] = u[2 * H + j] + bias_n[j]
        n[j] = tanh(n[j] + r[j] * u_n[j])
        h[j] = n[j] + z[j] * (h[j] - n[j])


@_jit
def _gru_row_backward(gates, u_n, h, dh, alpha, mu, bypass):
    """Go one step of one sequence back; h is h_{t−1}. gates, alpha, mu (3·H,); the others (H,)."""
    H = len(h)
    one = h.dtype.type(1)
    r, z, n = gates[:H], gates[H : 2 * H], gates[2 * H :]
    for j in range(H):
        alpha_n = dh[j] * (one - z[j]) * (one - n[j] * n[j])
        alpha_z = dh[j] * (h[j] - n[j]) * z[j] * (one - z[j])
        alpha_r = alpha_n * u_n[j] * r[j] * (one - r[j])
        bypass[j] = dh[j] * z[j]
        alpha[j] = mu[j] = alpha_r
        alpha[H + j] = mu[H + j] = alpha_z
        alpha[2 * H + j] = alpha_n
        mu[2 * H + j] = alpha_n * r[j]


@_jit
def _lstm_row(gates, u, c, tanh_c, m):
    """Run one step of one sequence; m = o ⊙ tanh c. gates, u (4·H,); the others (H,)."""
    H = len(c)
    i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    for j in range(H):
        i[j] = sigmoid(i[j] + u[j])
        f[j] = sigmoid(f[j] + u[H + j])
        g[j] = tanh(g[j] + u[2 * H + j])
        o[j] = sigmoid(o[j] + u[3 * H + j])
        c[j] = f[j] * c[j] + i[j] * g[j]
        tanh_c[j] = tanh(c[j])
        m[j] = o[j] * tanh_c[j]


@_jit
def _lstm_row_backward(gates, c, tanh_c, dm, dc, alpha):
    """Go one step of one sequence back; c is c_{t−1}. gates, alpha (4·H,); the others (H,)."""
    H = len(c)
    one = c.dtype.type(1)
    i, f, g, o = gates[:H], gates[H : 2 * H], gates[2 * H : 3 * H], gates[3 * H :]
    for j in range(H):
        dc_t = dc[j] + dm[j] * o[j] * (one - tanh_c[j] * tanh_c[j])
        alpha[j] = dc_t * g[j] * i[j] * (one - i[j])
        alpha[H + j] = dc_t * c[j] * f[j] * (one - f[j])
        alpha[2 * H + j] = dc_t * i[j] * (one - g[j] * g[j])
        alpha[3 * H + j] = dm[j] * tanh_c[j] * o[j] * (one - o[j])
        dc[j] = dc_t * f[j]


@_jit
def rnn_forward(steps, keep, relu, w_hh_t, gates, h, y, h_before):
    u = np.empty_like(h)
    for t in range(len(steps)):
        start, b = steps[t, 0], steps[t, 1]
        first = start if keep else 0
        h_before[first : first + b] = h[:b]
        _product(h[:b], w_hh_t, u[:b])
        for k in range(b):
            _rnn_row(gates[start + k], u[k], relu)
            h[k] = gates[start + k]
        y[start : start + b] = h[:b]


@_jit
def rnn_backward(steps, relu, w_hh, gates, dy, dh, alpha):
    for t in range(len(steps)):
        start, b = steps[t, 0], steps[t, 1]
        _add(dh[:b], dy[start : start + b], dh[:b])
        for k in range(b):
            _rnn_row_backward(gates[start + k], dh[k], alpha[start + k], relu)
        _product(alpha[start : start + b], w_hh, dh[:b])


@_jit
def gru_forward(steps, keep, w_hh_t, bias_n, gates, h, y, h_before, u_n):
    """Run all steps. bias_n (H,): the part of bias_hh behind the reset gate."""
    u = np.empty((len(h), w_hh_t.shape[1]), h.dtype)
    for t in range(len(steps)):
        start, b = steps[t, 0], steps[t, 1]
        first = start if keep else 0
        h_before[first : first + b] = h[:b]
        _product(h[:b], w_hh_t, u[:b])
        for k in range(b):
            _gru_row(gates[start + k], u[k], bias_n, u_n[first + k], h[k])
        y[start : start + b] = h[:b]


@_jit
def gru_backward(steps, w_hh, gates, h_before, u_n, dy, dh, alpha, mu):
    bypass = np.empty_like(dh)
    for t in range(len(steps)):
        start, b = steps[t, 0], steps[t, 1]
        _add(dh[:b], dy[start : start + b], dh[:b])
        for k in range(b):
            row = start + k
            _gru_row_backward(
                gates[row], u_n[row], h_before[row], dh[k], alpha[row], mu[row], bypass[k]
            )
        _product(mu[start : start + b], w_hh, dh[:b])
        _add(dh[:b], bypass[:b], dh[:b])


@_jit
def lstm_forward(steps, keep, w_hh_t, w_hr_t, gates, h, c, y, h_before, c_before, tanh_c):
    """Run all steps. w_hr_t (H, P): the projection, or (H, 0) for none."""
    projected = w_hr_t.shape[1] > 0
    u = np.empty((len(h), w_hh_t.shape[1]), h.dtype)
    m = np.empty_like(c) if projected else h
    for t in range(len(steps)):
        start, b = steps[t, 0], steps[t, 1]
        first = start if keep else 0
        h_before[first : first + b] = h[:b]
        c_before[first : first + b] = c[:b]
        _product(h[:b], w_hh_t, u[:b])
        for k in range(b):
            _lstm_row(gates[start + k], u[k], c[k], tanh_c[first + k], m[k])
        if projected:
            _product(m[:b], w_hr_t, h[:b])
        y[start : start + b] = h[:b]


@_jit
def lstm_backward(steps, w_hh, w_hr, gates, c_before, tanh_c, dy, dh, dc, alpha, dh_all):
    """Go all steps back. w_hr (P, H): the projection, or (0, H) for none.

    dh_all: with projection (N, P), on return dh of every row; (0, H) without.
    """
    projected = len(w_hr) > 0
    dm = np.empty_like(dc) if projected else dh
    for t in range(len(steps)):
        start, b = steps[t, 0], steps[t, 1]
        _add(dh[:b], dy[start : start + b], dh[:b])
        if projected:
            dh_all[start : start + b] = dh[:b]
            _product(dh[:b], w_hr, dm[:b])
        for k in range(b):
            row = start + k
            _lstm_row_backward(gates[row], c_before[row], tanh_c[row], dm[k], dc[k], alpha[row])
        _product(alpha[start : start + b], w_hh, dh[:b])
