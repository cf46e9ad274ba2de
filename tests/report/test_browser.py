"""A report in a real browser: nothing sticks out on a phone, charts and the drawing of the model have a size, dark is dark."""

import html
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import cenote as cn
from cenote import layers, report

sys.path.insert(0, str(Path(__file__).parent))

from test_page import records

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
pytestmark = pytest.mark.skipif(BROWSER is None, reason="no Chromium here")

MEASURE = """
<pre id="found"></pre><script>
onload = () => { const d = document.querySelector("iframe").contentDocument, all = s => [...d.querySelectorAll(s)];
  const inside = (t, r) => t.getComputedTextLength() <= r.getBBox().width - 8;
  document.querySelector("#found").textContent = JSON.stringify({
    wide: d.documentElement.scrollWidth, high: d.documentElement.scrollHeight,
    out: all("body *").filter(e => e.getBoundingClientRect().right > d.documentElement.clientWidth && !e.closest(".scroll"))
      .map(e => e.outerHTML.slice(0, 80)),
    sizes: all("svg.chart, svg.graph, table").map(e => e.getBoundingClientRect().width),
    fits: all("svg.graph g > text").map(t => inside(t, t.parentNode.querySelector("rect"))),
    paper: getComputedStyle(d.body).backgroundColor, ink: getComputedStyle(d.body).color }) }
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A page with all that may be too wide: long names, many classes, a branching network, pictures."""
    rng = np.random.default_rng(0)
    x = cn.Input((28, 28, 1))
    y = layers.Conv2D(8, 3, padding="same")(x)
    y = layers.Add()([layers.Conv2D(8, 1)(x), layers.BatchNormalization()(y)])
    model = cn.Model(x, layers.Dense(30, activation="softmax")(layers.GlobalAveragePooling2D()(y)))
    model.build(np.zeros((1, 28, 28, 1), "float32"))
    labels = rng.integers(0, 30, 200)
    return report.write(
        tmp_path_factory.mktemp("page") / "report.html",
        rng.dirichlet(np.ones(30), 200),
        labels,
        classes=[f"a-class-with-a-rather-long-name-{i}" for i in range(30)],
        pictures=rng.integers(0, 255, (200, 28, 28), dtype=np.uint8),
        parts={"training": labels, "test": labels},
        model=model,
        history=records([3.0, 2.0, 1.5, 1.75]),
        facts=report.Facts.here(title="a" * 90, command="cenote train " + "x" * 200, settings={"data set": "b" * 120}),
    )


def seen(page, width, tmp_path, *options):
    """What the browser measures of a page in a window of this width."""
    host = tmp_path / "host.html"
    frame = f'<iframe width="{width}" height="900" style="border:0" srcdoc="{html.escape(page.read_text("utf-8"))}"></iframe>'
    host.write_text(
        f'<!doctype html><meta charset="utf-8"><meta name="color-scheme" content="light dark">{frame}{MEASURE}', "utf-8"
    )
    told = chromium("--dump-dom", f"--window-size={width + 100},1000", *options, host.as_uri())
    return json.loads(html.unescape(re.search(r'<pre id="found">(.*?)</pre>', told, re.DOTALL)[1]))


def chromium(*options):
    words = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000"]
    done = subprocess.run([BROWSER, *words, *options], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-500:]
    return done.stdout


def test_nothing_sticks_out_on_a_phone_or_a_desk(page, tmp_path):
    for width in (390, 1100):
        found = seen(page, width, tmp_path)
        assert found["wide"] <= width, f"the page is {found['wide']} wide in {width}: {found['out'][:9]}"
        assert found["high"] > 2000 and min(found["sizes"]) > 40
        assert found["fits"] and all(found["fits"])  # each word of the drawing lies in its box


def test_dark_is_dark(page, tmp_path):
    light = seen(page, 390, tmp_path)
    dark = seen(page, 390, tmp_path, "--blink-settings=preferredColorScheme=0")

    def bright(colour):
        return sum(map(int, re.findall(r"\d+", colour)[:3]))

    assert bright(light["paper"]) > bright(light["ink"]) and bright(dark["paper"]) < bright(dark["ink"])


def test_it_prints(page, tmp_path):
    chromium(f"--print-to-pdf={tmp_path / 'page.pdf'}", page.as_uri())
    data = (tmp_path / "page.pdf").read_bytes()
    assert data.startswith(b"%PDF") and 1 <= len(re.findall(rb"/Type\s*/Page\b", data)) <= 20
