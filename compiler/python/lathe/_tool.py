# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""The command `lathe` of the wheel: the executable that lies in the package."""
import os
import sys

from lathe._compile import _executable


def main():
    """Becomes the executable."""
    path = _executable()
    os.execv(path, [path, *sys.argv[1:]])
