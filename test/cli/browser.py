# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""Pages in a real browser, without a window."""
import re
import shutil
import subprocess

import pytest

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")


class Browser:
    def __init__(self, path, profile):
        self.path, self.profile = path, profile

    def open(self, page, *flags, size="1280,900"):
        """Loads a page; returns what it is then, as text, and what it wrote to the console."""
        command = [self.path, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
        command += [f"--user-data-dir={self.profile}", "--enable-logging=stderr", "--virtual-time-budget=3000", f"--window-size={size}"]
        result = subprocess.run([*command, *flags, page.as_uri()], capture_output=True, text=True, errors="replace", timeout=120)
        assert result.returncode == 0, result.stderr
        return result.stdout, re.findall(r"CONSOLE[^\n]*", result.stderr)

    def text_after(self, page, script):
        """What the page is after a script that acts as a user would; the script is in a copy of the page. Fails where
        anything was written to the console."""
        copy = page.with_name(page.stem + ".acted.html")
        copy.write_text(page.read_text().replace("</body>", f"<script>\n{script}\n</script></body>"))
        dom, console = self.open(copy, "--dump-dom")
        assert console == [], console
        return dom

    def shot(self, page, image, dark=False):
        """A picture of the page, of which the console stays empty."""
        flags = ["--blink-settings=preferredColorScheme=0"] if dark else []
        console = self.open(page, f"--screenshot={image}", *flags)[1]
        assert console == [], console
        return image


def find_browser(folder):
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip("there is no browser: expected one of " + ", ".join(BROWSERS))
    return Browser(path, folder)
