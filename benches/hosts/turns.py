"""Processes that take turns, so that their times are pairs: one works while the others wait.

The parent starts each child with `start`, and `take_turns` lets them go one step at a time, in an order that
rotates. A child calls `over()` after each step; without a parent that is nothing.
"""
import math
import os
import random
import socket
import subprocess

_parent = None


def over():
    """In a child: the step is done; returns when the next may begin."""
    global _parent
    if "TURNS_FD" not in os.environ:
        return
    if _parent is None:
        _parent = socket.socket(fileno=int(os.environ["TURNS_FD"]))
    _parent.sendall(b".")
    if not _parent.recv(1):
        os._exit(1)  # the parent has gone


def start(command, env, **arguments):
    """A child: (process, its side of the turns)."""
    ours, theirs = socket.socketpair()
    process = subprocess.Popen(command, env=dict(env, TURNS_FD=str(theirs.fileno())), pass_fds=[theirs.fileno()], **arguments)
    theirs.close()
    return process, ours


def take_turns(sides):
    """Lets the children go, step by step, until all have ended."""
    sides = [side for side in sides if side.recv(1)]
    while sides:
        going, sides = sides, []
        for side in going:
            try:
                side.sendall(b"g")
                if side.recv(1):
                    sides.append(side)
            except OSError:
                pass  # it has ended
        sides = sides[1:] + sides[:1]


def ratio(times, base):
    """The geometric mean of paired ratios, and its 95 % interval (bootstrap, 4,000 samples, seeded)."""
    logs = [math.log(a / b) for a, b in zip(times, base)]
    if not logs:
        return None
    r = random.Random(0)
    means = sorted(sum(r.choices(logs, k=len(logs))) / len(logs) for _ in range(4000))
    return [round(math.exp(x), 4) for x in (sum(logs) / len(logs), means[100], means[3899])]
