// Which words to say: the language, the plural form, the numbers. Knows no element of the page.

const PLACEHOLDER = /\{(\w+)\}/u;

// All languages as the server sends them. `languages[0]` is the kiosk's own.
export class Words {
  constructor({ languages, texts, privacy_address }) {
    this.languages = languages;
    this.texts = texts;
    this.privacyAddress = privacy_address;
  }

  // The speaker of the language asked for ("it-IT" finds "it"), or of the kiosk's own.
  speaker(tag) {
    const asked = (tag ?? "").toLowerCase();
    const found = this.languages.find((language) => language.toLowerCase() === asked)
      ?? this.languages.find((language) => language.toLowerCase() === asked.split("-")[0]);
    return new Speaker(found ?? this.languages[0], this.texts);
  }

  // The speakers of all languages but this one.
  others(speaker) {
    return this.languages
      .filter((language) => language !== speaker.language)
      .map((language) => new Speaker(language, this.texts));
  }
}

class Speaker {
  constructor(language, texts) {
    this.language = language;
    this.texts = texts[language];
    this.plural = new Intl.PluralRules(language);
  }

  // The text with its values in place.
  say(key, values = {}) {
    return this.parts(key, values).map((part) => part.text).join("");
  }

  // The text in pieces, each marked when it is a value, so that a name can be set apart from the sentence around it.
  parts(key, values = {}) {
    return this.texts[key]
      .split(/(\{\w+\})/u)
      .filter((text) => text !== "")
      .map((text) => {
        const name = PLACEHOLDER.exec(text)?.[1];
        return name === undefined ? { text, value: null } : { text: String(values[name] ?? ""), value: name };
      });
  }

  // The text of a key that counts. Italian has a form for whole millions ("many") that texts here need not have.
  count(key, count) {
    const form = `${key}.${this.plural.select(count)}`;
    return this.say(form in this.texts ? form : `${key}.other`, { count: this.number(count) });
  }

  number(count) {
    return new Intl.NumberFormat(this.language, { useGrouping: "always" }).format(count);
  }

  gain(count) {
    return new Intl.NumberFormat(this.language, { useGrouping: "always", signDisplay: "exceptZero" }).format(count);
  }

  // "5 minutes", "3 hours", "2 days": as coarse as a glance needs, never less than a minute.
  duration(seconds) {
    const minutes = Math.max(1, Math.round(Math.abs(seconds) / 60));
    if (minutes < 120) return this.count("duration.minutes", minutes);
    const hours = Math.round(minutes / 60);
    return hours < 48 ? this.count("duration.hours", hours) : this.count("duration.days", Math.round(hours / 24));
  }
}
