"""The words on the screen, one file a language under `words`; the page and its pseudo-locale test read the same ones.

A key that counts has one text a plural category of CLDR (`points.one`, `points.other`). `{name}`, `{count}`,
`{duration}` and `{address}` are filled in by the page.
"""

from collections.abc import Mapping, Sequence
from importlib.resources import files

import msgspec

from edge.errors import SettingsWrong

Texts = Mapping[str, str]


class PageTexts(msgspec.Struct, frozen=True, kw_only=True):
    """Everything the page may say: all texts by language tag, the kiosk's own language first in `languages`."""

    languages: tuple[str, ...]
    texts: Mapping[str, Texts]
    privacy_address: str | None


def load_texts(language: str) -> Texts:
    """The texts in one language. Raises: SettingsWrong when there are none."""
    known = known_languages()
    if language not in known:
        raise SettingsWrong(f"no texts in language {language!r}; known are {', '.join(known)}")
    return msgspec.json.decode((files("edge.kiosk") / "words" / f"{language}.json").read_bytes(), type=dict[str, str])


def load_page_texts(languages: Sequence[str], privacy_address: str | None) -> PageTexts:
    """The texts in these languages, the first being the kiosk's own. Raises: SettingsWrong."""
    if not languages:
        raise SettingsWrong("a kiosk speaks at least one language")
    texts = {language: load_texts(language) for language in languages}
    return PageTexts(languages=tuple(texts), texts=texts, privacy_address=privacy_address)


def known_languages() -> tuple[str, ...]:
    """The languages there are texts in."""
    names = (entry.name for entry in (files("edge.kiosk") / "words").iterdir())
    return tuple(sorted(name.removesuffix(".json") for name in names if name.endswith(".json")))
