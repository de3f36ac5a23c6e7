"""The web page in a real browser, on a desk and on a telephone: nothing cut off, no script, no request, no complaint."""

import pytest
from support.logs import DAY_MS, START_MS, story, write_lines

from schemas.policy import parse_policy
from streams.replay import replay
from streams.report import render

NAME = "<script>document.title='run'</script><b>" + "a-name-without-an-end" * 8
POLICY = '[defaults]\nages = ["3h", "1d"]\nbaseline = { days = 7, labels = 200, failures = 20 }\ncost = { fp = 5.0, fn = 20.0 }'
CUT_OFF = """
() => {
  const wide = document.documentElement.clientWidth, out = [];
  for (const e of document.querySelectorAll('body *')) {
    const box = e.getBoundingClientRect();
    if (!box.width || e.closest('svg.dot')) continue;  // a dot is drawn past the ends of its scale, inside its padding
    const what = `${e.tagName}.${e.getAttribute('class')}: ${e.textContent.trim().slice(0, 40)}`;
    if (box.left < -0.5 || box.right > wide + 0.5) out.push(`outside the page: ${what} ${box.left} to ${box.right}`);
    if (!(e instanceof SVGElement) && e.scrollWidth > e.clientWidth + 1 && getComputedStyle(e).display !== 'inline')
      out.push(`cut off or scrolled: ${what} ${e.scrollWidth} of ${e.clientWidth}`);
    const drawing = e.closest('figure > svg:not(.dot)');
    if (drawing && e !== drawing && e.tagName === 'use') {  // marks and letters
      const frame = drawing.getBoundingClientRect();
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        out.push(`outside its chart: ${drawing.parentNode.textContent.trim().slice(0, 20)} ${e.outerHTML.slice(0, 90)}`);
    }
  }
  return out;
}
"""


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    folder = tmp_path_factory.mktemp("page")
    made, known = story(days=40, per_day=100, changes_on=20)
    for i, record in enumerate(made):
        record |= {"model_id": NAME, "model_version": "1" if i % 2 else "2"}
        record["subgroups"] |= {"an-endless-dimension-" * 4: "世界" + "-and-an-endless-value" * 4}
    files = write_lines(folder / "p.jsonl", made), write_lines(folder / "o.jsonl", known)
    found = replay(*files, started_ms=START_MS + 400 * DAY_MS, policy=parse_policy(POLICY))
    assert found.events
    path = folder / "report.html"
    path.write_text(render(found.report, [found.watch], found.events, title=NAME, generated_at_ms=START_MS), encoding="utf-8")
    return path


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_fits_and_keeps_to_itself(chromium, page_file, width):
    page = chromium.new_page()
    complaints, requests = [], []
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(page_file.as_uri())
    assert page.evaluate("document.documentElement.scrollWidth") == width
    for summary in page.query_selector_all("summary"):
        summary.click()
    assert page.evaluate(CUT_OFF) == []
    assert page.evaluate("document.querySelectorAll('figure > svg').length") >= 12
    assert page.title() == NAME
    assert page.inner_text("h2").startswith(NAME)
    assert page.query_selector("script, img, iframe, object, body b > *") is None
    assert complaints == []
    assert requests == [page_file.as_uri()]
    page.close()


def test_a_script_that_got_in_would_not_run(chromium, page_file, tmp_path):
    harmed = tmp_path / "harmed.html"
    text = page_file.read_text(encoding="utf-8")
    harmed.write_text(text.replace("</main>", "<script>document.title = 'run'</script><img src='https://example.org/x'></main>"))
    page = chromium.new_page()
    answered = []
    page.on("response", lambda response: answered.append(response.url))
    page.goto(harmed.as_uri())
    assert page.title() == NAME
    assert [url for url in answered if not url.startswith("file:")] == []
    page.close()
