"""Every block of code in the documentation does what it says. Those that need services: ``tests/integration/test_docs_live.py``."""

import re
from pathlib import Path

import pytest
from support.pages import PAGES, ROOT, PageError, Reader, blocks_of, follow, has_live


@pytest.mark.parametrize("page", PAGES)
def test_a_page_does_what_it_says(page, tmp_path):
    follow(page, tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if has_live(page)])
def test_what_is_live_can_be_followed_in_its_order(page):
    """A page that starts something live begins with topics, and shows something in the end."""
    live = [block for block in blocks_of(page) if "live" in block.words]
    assert "gnomon provision" in live[0].text or "redis-server" in live[0].text
    assert any("background" in block.words and "gnomon worker" in block.text for block in live)
    assert any(block.language == "text" for block in blocks_of(page))


def page(*blocks: tuple[str, str]) -> str:
    return "".join(f"```{info}\n{text}\n```\n" for info, text in blocks)


GOOD = [
    [("bash", "echo 1; echo 22; echo 3"), ("text", "1\n...\n3")],
    [("python", "print(6 * 7)"), ("text", "42")],
    [("toml file=p.toml", "[models.a]"), ("bash", "gnomon check p.toml > out; test -s out")],
    [("bash", "export A=b"), ("bash", "echo $A"), ("text", "b")],
    [("bash", "A=b"), ("bash", "echo $A"), ("text", "b")],
    [("bash status=3", "exit 3")],
    [("bash live", "exit 1"), ("text", "what a service would say")],
    [("bash background", "sleep 600"), ("bash", "echo 1"), ("text", "1")],
    [("bash skip=make", "make demo")],
    [("bash skip=docker", "docker compose up --detach")],
    [("bash skip=cluster", "export GNOMON_KAFKA=a:1,b:2\ngnomon provision --dry-run")],
    [("json", '{"request_id": "a", "timestamp": 0, "true_label": 1}')],
]
BAD = [
    ([("bash", "false")], "status 1"),
    ([("bash", "false; true")], "status 1"),
    ([("bash status=3", "exit 2")], "status 2"),
    ([("bash", "echo 1"), ("text", "2")], "expected"),
    ([("bash", "true"), ("text", "2")], "expected"),
    ([("text", "2")], "there is none that runs"),
    ([("toml", "[models.a]"), ("text", "2")], "there is none that runs"),
    ([("python", "print(")], "SyntaxError"),
    ([("", "gnomon demo")], "no test knows"),
    ([("console", "$ gnomon demo")], "no test knows"),
    ([("bash unchecked", "false")], "after the language"),
    ([("bash skip=tired", "false")], "skip="),
    ([("bash skip=make", "make nothing-of-the-kind")], "nothing-of-the-kind"),
    ([("bash skip=make", "gnomon demo")], "expected make"),
    ([("bash skip=docker", "gnomon demo")], "needs no Docker"),
    ([("bash skip=docker", "docker compose logs nobody")], "not a service"),
    ([("bash skip=cluster", "export GNOMON_KAFKAS=a:1")], "no such setting"),
    ([("bash skip=cluster", "gnomon provision --dryrun")], "has no --dryrun"),
    ([("bash skip=cluster", "gnomon provide")], "no command"),
    ([("bash by=tests/test_rooms.py", "true")], "does not ask"),
    ([("toml", "[defaults]")], "names a model"),
    ([("json", '{"request_id": "a", "timestamp": 0, "true_label": 1, "label": 1}')], "has no label"),
    ([("json", '{"request_id": "a", "true_label": 1}')], "timestamp"),
    ([("yaml", "groups:\n- name: a\n  rules:\n  - alert: A\n    expr: up ==")], "parse error"),
    ([("yaml", "kind: Deployment\nspec: {template: {spec: {containers: [{args: [work], env: []}]}}}")], "no command"),
]


@pytest.mark.parametrize("blocks", GOOD)
def test_what_is_right_passes(blocks, tmp_path):
    Reader(tmp_path).follow(blocks_of("a.md", page(*blocks)))


@pytest.mark.parametrize(("blocks", "why"), BAD)
def test_what_is_wrong_fails(blocks, why, tmp_path):
    with pytest.raises(PageError, match=re.escape(why)):
        Reader(tmp_path).follow(blocks_of("a.md", page(*blocks)))


def test_a_fence_that_is_not_closed_fails():
    with pytest.raises(PageError, match="not closed"):
        blocks_of("a.md", "```bash\ntrue\n")


@pytest.mark.parametrize("name", PAGES)
def test_links_and_pictures_lead_somewhere(name):
    text = (ROOT / name).read_text()
    for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text) + re.findall(r'src="([^"]+)"', text):
        if "://" not in target:
            assert (ROOT / name).parent.joinpath(target).exists(), target


def test_every_page_and_picture_is_led_to():
    """From the README, over links: a page that nobody finds is not there."""
    found, ahead = {ROOT / "README.md"}, [ROOT / "README.md"]
    while ahead:
        here = ahead.pop()
        text = here.read_text()
        for target in re.findall(r"\]\(([^)#]+)", text) + re.findall(r'src="([^"]+)"', text):
            place = Path(here.parent / target).resolve()
            if "://" not in target and place not in found:
                found.add(place)
                ahead += [place] if place.suffix == ".md" else []
    places = {path for pattern in ("*.md", "*.png") for path in (ROOT / "docs").rglob(pattern)}
    assert {str(path.relative_to(ROOT)) for path in places - found} == set()
