"""Somebody's implementations, right and wrong, as a module that `cecli verify` finds by name."""

from __future__ import annotations

THEIRS = """
import ctypes, os, sys
import cecli

def right(logits, target, **options):
    upstream = options.pop("upstream", 1.0)
    result = cecli.cross_entropy(logits, target, **options)
    return result.loss, result.grad * upstream

def loud(logits, target):
    print("from Python")
    os.write(1, b"from the system\\n")
    ctypes.CDLL(None).puts(b"from C")
    return right(logits, target)

def summed(logits, target):
    return right(logits, target, reduction="sum")

def rude(logits, target):
    raise ValueError("]]> & <b> “é” \\x00 \\x1b \\ud800")

def textbook(logits, target):
    import numpy as np
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    rows = np.arange(len(p))
    loss = -np.log(p[rows, target]).mean()
    p[rows, target] -= 1.0
    return loss, p / len(p)

def nothing(logits, target):
    raise NotImplementedError("not yet")

def rough(logits, target):
    import numpy as np
    loss, grad = right(logits, target)
    return loss * (1 + 1e-9), grad

def stopped(logits, target):
    raise KeyboardInterrupt
"""
FEW = ("-k", "ordinary", "-k", "weight")
