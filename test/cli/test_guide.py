# Lathe. Under the Apache License v2.0. SPDX-License-Identifier: Apache-2.0
"""docs/guide: every block of every page runs as it stands there, and every message that troubleshooting tells of is one of the program's."""
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "guide"
sys.path.insert(0, str(ROOT / "test" / "tools"))
import pages  # noqa: E402

PAGES = sorted(page.name for page in GUIDE.glob("*.md"))

# Blocks that no machine of the tests can run, by page and reason. A new one is a decision, so it is written down here, too.
SKIPPED = {
    ("embedding.md", "the test has set these already"): 1,
    ("install.md", "test/cli/test_packages.py does this"): 5,
    ("quick-start.md", "the test has set these already"): 1,
    ("quick-start.md", "PyTorch is not among the packages that Lathe installs"): 1,
}


@pytest.fixture(scope="session")
def environment(build):
    def prepend(name, *folders):
        return os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get(name)])])

    return {
        **os.environ,
        "PATH": prepend("PATH", build / "bin", Path(sys.executable).parent),
        "PYTHONPATH": prepend("PYTHONPATH", build / "python"),
        "CPATH": prepend("CPATH", ROOT / "runtime" / "include"),
        "LIBRARY_PATH": prepend("LIBRARY_PATH", build / "lib"),
        "LD_LIBRARY_PATH": prepend("LD_LIBRARY_PATH", build / "lib"),
        "LATHE_SOURCE": str(ROOT),
    }


@pytest.fixture(scope="session")
def page_folder(environment, tmp_path_factory):
    """page_folder(name) is the folder that a page leaves behind, run once a session; what it left out is in page_folder.skipped."""
    done, skipped = {}, {}

    def folder(name):
        if name not in done:
            page = GUIDE / name
            own = tmp_path_factory.mktemp(page.stem)
            try:
                if before := pages.after(page.read_text()):
                    shutil.copytree(folder(before), own, dirs_exist_ok=True)
                skipped[name] = pages.run(page, own, environment)
                done[name] = own
            except Exception as error:  # so that what goes on from it fails without another run of it
                done[name] = error
        if isinstance(done[name], Exception):
            raise done[name]
        return done[name]

    folder.skipped = skipped
    return folder


@pytest.mark.parametrize("name", PAGES)
def test_page(page_folder, name):
    page_folder(name)
    reasons = [reason for _, reason in page_folder.skipped[name]]
    assert {(name, reason): reasons.count(reason) for reason in reasons} == {key: count for key, count in SKIPPED.items() if key[0] == name}


@pytest.mark.parametrize("name", PAGES)
def test_links(name):
    text = re.sub(r"^```.*?^```$", "", (GUIDE / name).read_text(), flags=re.MULTILINE | re.DOTALL)
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in link:
            assert (GUIDE / link).exists(), f"{name} links to {link}"


def test_the_index_has_every_page():
    text = (GUIDE / "README.md").read_text()
    assert [name for name in PAGES if name != "README.md" and f"]({name})" not in text] == []


def literals():
    """Texts of the program's sources, by file: string literals, with those that follow each other joined, and %s and the like as one mark."""
    for folder in ("compiler", "runtime", "frontends", "passes", "backends"):
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in (".cpp", ".h", ".py"):
                text = re.sub(r'"\s*\n\s*"', "", path.read_text(errors="replace"))
                yield path, text.replace('\\"', '"')


def test_messages_are_the_programs():
    messages = re.findall(r"^### `(.+)`$", (GUIDE / "troubleshooting.md").read_text(), re.MULTILINE)
    assert len(messages) > 20
    sources = list(literals())
    for message in messages:
        # What stands between two things that vary; a quote beside one may be the text's or the variable's.
        parts = [part.strip(" ':;,") for part in message.split("…")]
        parts = [part for part in parts if len(part) > 3]
        assert parts, message
        missing = [part for part in parts if not any(part in text for _, text in sources)]
        assert missing == [], f"no source has {missing} of the message: {message}"
