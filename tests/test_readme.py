"""What the README says beside its blocks of code, which ``tests/test_docs.py`` runs."""

import re

from support.pages import ROOT, blocks_of

from streams.settings import Settings
from streams.topics import topics

README = (ROOT / "README.md").read_text()


def test_the_picture_shows_every_topic_of_the_flow():
    [picture] = [block.text for block in blocks_of("README.md") if block.language == "mermaid"]
    drawn = set(re.findall(r"[a-z][a-z-]*", picture))
    later = {"fatigue", "retrain", "audit"}  # named in the text as still to come, or for other readers
    assert {topic for topic in topics(Settings()) if topic not in later} <= drawn
    assert picture.startswith("flowchart")


def test_places_that_are_named_exist():
    for place in re.findall(r"`((?:tests|schemas|detectors|streams|docs)/[\w/.-]*)`", README):
        assert (ROOT / place).exists(), place


def test_compose_says_what_the_readme_says():
    text = (ROOT / "docker-compose.yml").read_text()
    [made] = [line for line in README.splitlines() if line.startswith("mkdir")]
    assert made.split("    #")[0] in text
