# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""docs/dev/data-flow.md shows what the compiler prints."""
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "excerpts.py"


def test_page_is_current(lathe_tool):
    result = subprocess.run([sys.executable, SCRIPT, "--check"], capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


def test_stale_page_is_found(lathe_tool, tmp_path):
    sys.path.insert(0, str(SCRIPT.parent))
    import excerpts

    page = excerpts.PAGE.read_text()
    assert "{transpose_rhs}" in page
    assert excerpts.filled(page.replace("{transpose_rhs}", "{changed}")) == page
