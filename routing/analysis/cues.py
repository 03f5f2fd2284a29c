"""The words that give away what is asked: each list is one reason, and has one name.

Single words are looked up in the text's vocabulary, phrases in the text itself. A few verbs of the commonest
other languages are among them, since they decide the kind of a task; the rest is English.
"""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# What kind of task it is.
WRITE = _words(
    "write draft compose rewrite rephrase paraphrase edit proofread polish email letter essay blog article speech "
    "schreibe verfasse écris rédige escribe redacta scrivi escreva"
)
CREATE = _words(
    "poem story stories poetry haiku limerick lyrics song novel fiction character plot dialogue screenplay joke slogan "
    "tagline brainstorm imagine invent creative metaphor rhyme gedicht geschichte poème histoire poema cuento"
)
SUMMARY = _words(
    "summarize summarise summary tldr condense shorten recap digest abstract zusammenfassen zusammenfassung fasse "
    "résume résumer résumé resume resumen resumir riassumi resuma"
)
TRANSLATE = _words(
    "translate translation translated übersetze übersetzen traduis traduire traduce traducir traduci traduza vertaal"
)
EXTRACT = _words("extract extracts parse identify list find retrieve locate pull entities fields extrahiere extrais")
CLASSIFY = _words(
    "classify classification categorize categorise category label labels sentiment spam tag positive neutral "
    "negative klassifiziere classifie clasifica"
)
CODE = _words(
    "function python javascript typescript java rust golang c++ sql html css bash regex code coding program compile "
    "debug refactor bug stacktrace traceback api json xml yaml class method def return import const var async select "
    "algorithm recursion unittest pytest docker kubernetes git npm array string list integer boolean exception"
)
SURE_CODE = _words(
    "python javascript typescript golang sql regex refactor traceback def pytest kubernetes npm async const"
)
MATHS = _words(
    "calculate compute solve equation integral derivative matrix polynomial theorem probability factor sum product "
    "remainder divisor divisible prime triangle circle radius angle integer integers fraction percent percentage "
    "square root cosine sine logarithm vector eigenvalue modulo mean median variance dollars cents miles hours "
    "total altogether twice half third each cost per"
)
SURE_MATHS = _words(
    "calculate compute integral derivative polynomial theorem divisible divisor remainder eigenvalue equation modulo"
)
REASON = _words(
    "why prove proof derive deduce infer explain analyze analyse evaluate compare contrast argue justify reason "
    "reasoning therefore hence implies imply consequence cause causes because assume suppose hypothesis conclude "
    "conclusion tradeoff tradeoffs strategy plan design optimize optimise puzzle clue clues riddle logically "
    "warum erkläre pourquoi explique explica"
)
ASK = _words("who what when where which whose whom wer wann wo qui quand où quién cuándo dónde")
GREET = _words("hi hello hey thanks thank hallo danke bonjour merci hola gracias ciao goodbye bye morning")

# How hard it is.
STEPS = ("step by step", "step-by-step", "think carefully", "show your work", "chain of thought", "in detail")
HYPOTHESES = (" if ", " unless ", " suppose ", " assuming ", " given that ", " provided that ", " whether ")
MORAL = _words("morally moral ethical ethics wrong duty obligation valid invalid fallacy premise premises argument")
NEGATIONS = _words("not except least incorrect false never neither nor cannot without")
SPECIALIST = _words(
    "plaintiff defendant statute contract liability tort jurisdiction negligence easement testator constitutional "
    "patient diagnosis symptoms therapy syndrome chronic clinical dose receptor enzyme protein gene genome mutation "
    "molecule reaction oxidation isomer compound solution electron quantum relativity entropy enthalpy voltage current "
    "flux magnetic orbital velocity acceleration momentum supply demand inflation monetary fiscal equilibrium "
    "elasticity regression variance hypothesis philosopher kant utilitarian empire dynasty treaty "
    "amendment congress parliament antibody virus bacteria artery cortex neuron hormone algorithm "
    "kernel protocol encryption thermodynamic theorem"
)
MUST = _words(
    "must exactly only should always never without avoid ensure include exclude require required requirements"
)
LIMITS = (
    "at most", "at least", "no more than", "no less than", "fewer than", "less than", "more than", "up to",
    "words or less", "between ", "in the style of", "do not ", "don't ", "make sure", "each of", "following format",
)  # fmt: skip
FORMATS = _words("json xml yaml csv markdown table bullet bullets columns schema format latex html heading headings")
REFERS = (
    "the following", "above", "below", "attached", "this document", "this text", "the passage", "the article",
    "according to", "based on", "the context", "this code",
)  # fmt: skip
ADVANCED_CODE = _words(
    "concurrency concurrent thread threads deadlock distributed complexity optimize asynchronous memory cache "
    "architecture microservices scalable compiler parser database index transaction security refactor benchmark"
)
