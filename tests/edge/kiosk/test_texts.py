"""The words: every language says everything, in the same places, and nothing is said that is not in them."""

import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from edge.core.screen import EnrolRefusal, FaultName, ScreenName, StandHint
from edge.errors import SettingsWrong
from edge.kiosk.texts import known_languages, load_page_texts, load_texts

PAGE = files("edge.kiosk") / "page"
PLURAL = re.compile(r"\.(one|other)$")
SPOKEN_ATTRIBUTES = {"alt", "aria-description", "aria-label", "placeholder", "title", "value"}


def test_english_and_italian_are_there() -> None:
    assert {"en", "it"} <= set(known_languages())


@pytest.mark.parametrize("language", known_languages())
def test_every_language_has_every_text_with_the_same_values_in_it(language: str) -> None:
    ours, english = load_texts(language), load_texts("en")
    assert ours.keys() == english.keys()
    assert {key: values(text) for key, text in ours.items()} == {key: values(text) for key, text in english.items()}


@pytest.mark.parametrize("language", known_languages())
def test_no_text_is_empty_and_what_counts_has_both_forms(language: str) -> None:
    texts = load_texts(language)
    assert all(text.strip() == text != "" for text in texts.values())
    counted = {PLURAL.sub("", key) for key in texts if PLURAL.search(key)}
    assert all(f"{key}.one" in texts and f"{key}.other" in texts for key in counted)


def test_italian_is_not_english() -> None:
    english, italian = load_texts("en"), load_texts("it")
    assert [key for key in english if english[key] == italian[key]] == []


def test_every_fault_has_its_hint_for_staff() -> None:
    assert {f"fault.{fault}" for fault in FaultName} <= load_texts("en").keys()


def test_the_page_uses_every_text_and_no_other() -> None:
    script = (PAGE / "kiosk.js").read_text() + (PAGE / "words.js").read_text()
    used = set(re.findall(r'"([a-z_]+(?:\.[a-z_]+)+|points|title)"', script)) - {"words.js"}
    used |= {f"fault.{fault}" for fault in FaultName}  # put together from the screen's own, as are the next two
    used |= {f"enrol.{hint}" for hint in StandHint} | {f"not_enrolled.{refusal}" for refusal in EnrolRefusal}
    assert used == {PLURAL.sub("", key) for key in load_texts("en")}


def test_the_page_knows_every_screen() -> None:
    script = (PAGE / "kiosk.js").read_text()
    known = re.findall(r"^  (\w+): \(.*\) => ", script, re.MULTILINE)
    assert sorted(known) == sorted(ScreenName)


def test_the_page_itself_holds_no_words() -> None:
    found = SpokenWords()
    found.feed((PAGE / "index.html").read_text())
    assert found.words == []


def test_the_kiosk_speaks_its_languages_in_the_order_given() -> None:
    assert load_page_texts(("it", "en"), None).languages == ("it", "en")
    assert load_page_texts(("it", "it"), None).languages == ("it",)


@pytest.mark.parametrize("language", ["", "tlh", "../words/en", "en.json"])
def test_an_unknown_language_is_named(language: str) -> None:
    with pytest.raises(SettingsWrong, match="no texts in language"):
        load_texts(language)


def values(text: str) -> set[str]:
    """The names of the values in a text."""
    return set(re.findall(r"\{(\w+)\}", text))


class SpokenWords(HTMLParser):
    """Collects every text of a page that somebody could see or hear."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        """Text between tags."""
        if data.strip():
            self.words.append(data.strip())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Text in attributes."""
        self.words.extend(value or "" for name, value in attrs if name in SPOKEN_ATTRIBUTES)
