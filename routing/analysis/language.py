"""Which language a text is in: by its script, or by its commonest short words.

It is meant for what follows from it (that a small model is weaker beyond English), not for linguists: a text in a
language that is not here, or too short to tell, is "und".
"""

from __future__ import annotations

from collections import Counter

from routing.analysis.reading import Reading

UNKNOWN = "und"
_SAMPLE = 200  # characters whose script is looked at
_SCRIPTS: tuple[tuple[int, int, str], ...] = (
    (0x0370, 0x03FF, "el"),
    (0x0400, 0x052F, "ru"),
    (0x0590, 0x05FF, "he"),
    (0x0600, 0x06FF, "ar"),
    (0x0900, 0x097F, "hi"),
    (0x0980, 0x09FF, "bn"),
    (0x0E00, 0x0E7F, "th"),
    (0x3040, 0x30FF, "ja"),
    (0x4E00, 0x9FFF, "zh"),
    (0xAC00, 0xD7AF, "ko"),
)
_UKRAINIAN = frozenset("іїєґ")
_SHORT_WORDS: dict[str, frozenset[str]] = {
    language: frozenset(words.split())
    for language, words in {
        "en": "the of and to in is are was what which how why you your my with for this that it not have does do can "
        "could would should from by an be about who when where i me please write explain hello hi thanks give make",
        "de": "der die das und ist nicht ein eine einen den dem mit für von auf wie was warum ich sie wir zu im bitte "
        "sind auch werden kann aus über wenn schreibe hallo mir",
        "fr": "le la les des et est un une pas que qui dans pour avec sur comment pourquoi je vous nous du au ce cette "
        "sont plus être quel quelle bonjour moi écris",
        "es": "el la los las y es un una no que en para con por cómo qué cuál yo del al se su más son está este esta "
        "hola escribe quién dónde",
        "it": "il lo la gli le e è un una non che di per con come perché io del della si sono più questo questa ciao "
        "scrivi quale nel",
        "pt": "o a os as e é um uma não que em para com por como eu do da se são mais este esta você olá escreva qual "
        "no na quem",
        "nl": "de het een en is niet van voor met op hoe waarom ik je wij zijn dat die aan ook kan wat hallo schrijf",
        "sv": "och är inte en ett det som för med på hur varför jag du vi att av kan vad hej skriv",
        "pl": "i w nie na jest to się z że jak dlaczego do czy co po dla przez który napisz",
        "tr": "ve bir bu için ile ne nasıl neden mi ben sen çok değil olarak daha var merhaba yaz",
    }.items()
}


def language_of(reading: Reading) -> str:
    """The language, as ISO 639-1 writes it."""
    if script := _by_script(reading.text[:_SAMPLE]):
        return script
    words = Counter(reading.words[:400])
    hits = {language: sum(words[word] for word in words.keys() & short) for language, short in _SHORT_WORDS.items()}
    best = max(hits, key=lambda language: hits[language])
    rest = max(count for language, count in hits.items() if language != best)
    if not hits[best] or hits[best] == rest:
        return UNKNOWN
    return best


def _by_script(sample: str) -> str:
    if sample.isascii():
        return ""
    counted: Counter[str] = Counter()
    letters = 0
    for character in sample:
        if not character.isalpha():
            continue
        letters += 1
        point = ord(character)
        if point > 0x036F:
            counted.update(name for low, high, name in _SCRIPTS if low <= point <= high)
    if not counted or counted.total() * 3 < letters:
        return ""
    if counted["ja"] and counted["ja"] * 10 >= counted["zh"]:
        return "ja"  # its texts mix both scripts
    best = counted.most_common(1)[0][0]
    return "uk" if best == "ru" and not _UKRAINIAN.isdisjoint(sample.lower()) else best
