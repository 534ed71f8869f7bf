# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Failures, as lathe.h and docs/exit-codes.md define them."""
import enum


class Status(enum.IntEnum):
    """lathe_status of lathe.h."""

    OK = 0
    INVALID_ARGUMENT = 1
    NOT_FOUND = 2
    INVALID_ARTIFACT = 3
    UNSUPPORTED_VERSION = 4
    UNSUPPORTED_DEVICE = 5
    OUT_OF_MEMORY = 6
    OVER_BUDGET = 7
    IO_ERROR = 8
    EXECUTION_ERROR = 9
    INTERNAL = 10
    DEVICE_LOST = 11


class Error(RuntimeError):
    """A failure of Lathe.

    status: the Status of a failed call of the runtime; None for a failed compilation.
    exit_code: the exit code of a failed `lathe compile` (docs/exit-codes.md); None for the runtime.
    """

    def __init__(self, message, status=None, exit_code=None):
        super().__init__(message)
        self.status = status
        self.exit_code = exit_code
