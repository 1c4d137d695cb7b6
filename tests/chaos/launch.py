"""Become another program that dies with whoever started this one.

`python -I -S launch.py PARENT SIGNAL USER program arguments…`: the kernel sends SIGNAL when the process PARENT ends
(Linux only). USER is empty, or whom to become first. A program of its own, since a starter with threads cannot safely
run Python between fork and exec.
"""

import ctypes
import os
import pwd
import sys

PR_SET_PDEATHSIG = 1


def main() -> None:
    parent, signum, user = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    if user:
        person = pwd.getpwnam(user)
        os.setgroups([])
        os.setgid(person.pw_gid)
        os.setuid(person.pw_uid)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signum)  # after the change of user, which would clear it
        if os.getppid() != parent:  # it ended before the line above
            os._exit(1)
    os.execvp(sys.argv[4], sys.argv[4:])


if __name__ == "__main__":
    main()
