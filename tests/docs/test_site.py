"""The documentation builds as a site, strictly; it needs nothing from elsewhere, and names what is public."""

import os
import re
import subprocess
import sys
from pathlib import Path

import chimeway
import chimeway.testing

ROOT = Path(__file__).parents[2]


def _built(folder: Path) -> Path:
    """Build the site as `make docs` does."""
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", folder],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=120,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_site_is_whole_and_sends_a_reader_nowhere_else(tmp_path: Path) -> None:
    """Each page is in it, each public name in its reference, and nothing is loaded from another host.

    (That links lead somewhere, also to headings, is seen to by the build.) One test: it is built once.
    """
    site = _built(tmp_path / "site")
    pages = {path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")}
    missing = [page for page in pages if not (site / page.with_suffix(".html")).exists()]
    assert not [page for page in missing if page.parts[:2] != ("benchmarks", "results")]
    assert "Two commands" in (site / "index.html").read_text("utf-8"), "the README is the first page"
    for page in site.rglob("*.html"):
        _loads_nothing(page)
    for style in site.rglob("*.css"):
        assert not re.search(r"(@import|url\()\s*['\"]?(https?:)?//", style.read_text("utf-8")), style
    references = [path.read_text("utf-8") for path in (site / "reference").rglob("*.html")]
    for module, public in (("chimeway", chimeway.__all__), ("chimeway.testing", chimeway.testing.__all__)):
        for name in public:
            assert sum(f'id="{module}.{name}"' in text for text in references) == 1, f"{module}.{name}"


def _loads_nothing(page: Path) -> None:
    """No script, style, font or picture comes from elsewhere: whoever reads is nobody's business."""
    text = page.read_text("utf-8")
    loaded = re.findall(r'<(?:script|img|iframe)[^>]*\ssrc="([^"]+)"', text)
    loaded += re.findall(r'<link[^>]*\shref="([^"]+)"', text)
    assert not [one for one in loaded if re.match(r"(https?:)?//", one)], page
    assert 'class="mermaid"' not in text, "the theme would load what draws it from elsewhere"
