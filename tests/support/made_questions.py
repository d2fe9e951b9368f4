"""Small labelled sets of each kind of question, made from two dozen short articles.

Each article has its text, a question about it, a phrase that names it among others, a sentence
that a story would have of it, and a code that stands nowhere else. Questions and phrases avoid the
article's own words where English has others.
"""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Article:
    """A document, and what is asked of it."""

    name: str
    text: str
    question: str
    phrase: str
    sentence: str
    code: str  # of a form or part; in the text


def _article(name: str, code: str, text: str, question: str, phrase: str, sentence: str) -> Article:
    return Article(name, text.replace("CODE", code), question, phrase, sentence, code)


ARTICLES = (
    _article(
        "bees",
        "HV-3071",
        "Honey bees live in a hive with one queen and thousands of workers. Foragers dance to tell "
        "the others where flowers are. A box of the type CODE holds ten frames of comb.",
        "how do insects that make honey show each other the way to blossoms",
        "keeping insects for honey",
        "Grandmother put on a veil, smoked the boxes and lifted out the dripping combs.",
    ),
    _article(
        "volcano",
        "SG-118",
        "Magma rises below a volcano until gas and pressure tear the rock open. Ash can stop "
        "aircraft for weeks. Seismographs of the series CODE feel the first tremors.",
        "what makes a mountain spit out molten rock",
        "mountains that erupt",
        "That night the summit glowed red and grey dust fell on the roofs.",
    ),
    _article(
        "violin",
        "BW-44",
        "A violin has four strings, tuned in fifths, over a body of spruce and maple. The bow is "
        "strung with horse hair and rubbed with rosin. Bridge blanks CODE are cut to fit.",
        "which wood and which strings does a fiddle have",
        "building a stringed instrument",
        "He drew the bow over the strings and the small wooden body sang.",
    ),
    _article(
        "vaccine",
        "CL-902",
        "A vaccine shows the immune system a harmless piece of a germ, so that it makes antibodies "
        "before an infection. Doses travel in the cold box CODE.",
        "why does a jab protect people against getting ill later",
        "protection against infections",
        "The nurse wiped the child's arm, and one short prick was all there was to it.",
    ),
    _article(
        "sail",
        "WN-27",
        "A sailing boat can go against the wind by tacking: the sail works like a wing, the keel "
        "stops it drifting. Sheets are hauled in with the winch CODE.",
        "how can a yacht move towards where the breeze comes from",
        "moving on water without an engine",
        "They tacked all afternoon, the keel humming, spray over the deck.",
    ),
    _article(
        "bread",
        "OV-650",
        "Sourdough bread rises with wild yeast and bacteria in a starter of flour and water. It "
        "rests overnight and is baked with steam, in an oven such as CODE.",
        "how is a loaf raised without bought yeast",
        "baking with a starter",
        "In the morning the dough had doubled and the kitchen smelled of crust.",
    ),
    _article(
        "chess",
        "CK-12",
        "In chess the king must be mated. Openings fight for the centre, endgames are decided by "
        "pawns. Tournaments use the clock CODE with thirty seconds a move.",
        "what decides the last phase of the board game with kings and pawns",
        "a board game with queens and rooks",
        "Her opponent stared at the board, then quietly laid down his king.",
    ),
    _article(
        "glacier",
        "DR-5",
        "A glacier is snow pressed into ice that flows downhill under its own weight. It leaves "
        "moraines behind when it melts. Cores are taken with the drill CODE.",
        "why do rivers of ice move down a valley",
        "ice in high mountains",
        "Above the hut the ice creaked, blue in its cracks, and crept towards the valley.",
    ),
    _article(
        "coffee",
        "GR-88",
        "Coffee beans are seeds of a cherry that are fermented, dried and roasted. Grind and water "
        "temperature decide how a cup tastes. Cafes like the grinder CODE.",
        "what happens to the seeds of the cherry before they are brewed",
        "a hot drink that keeps one awake",
        "She waited for the second crack and tipped the dark seeds into the cooling tray.",
    ),
    _article(
        "satellite",
        "TX-400",
        "A satellite in a geostationary orbit stands above one place of the equator, 36,000 "
        "kilometres up. Its transponder CODE sends television to a continent.",
        "how high up does something circle so that it seems to hang still in the sky",
        "machines that circle the earth",
        "The dish on the roof pointed at a speck that nobody could see, always in the same place.",
    ),
    _article(
        "rice",
        "PD-31",
        "Rice is grown in flooded paddies that keep weeds down. Seedlings are set by hand or by "
        "the machine CODE, and the water is let off before the harvest.",
        "why do farmers put grain fields under water",
        "growing grain in water",
        "Up to their knees in mud the women set one green shoot after the other.",
    ),
    _article(
        "bridge",
        "CB-77",
        "A suspension bridge hangs its deck from cables that run over two towers to anchors in the "
        "ground. Wind once tore one apart. Its strands are of steel CODE.",
        "what holds up the road between two tall pylons over a strait",
        "crossing a strait by road",
        "The deck swayed under the lorries, far above the ferries in the sound.",
    ),
    _article(
        "clay",
        "KN-1260",
        "Potters throw clay on a wheel, dry it, and fire it in a kiln until it is hard. A glaze "
        "melts to glass. Stoneware needs the kiln CODE.",
        "how does soft earth become a hard, shiny bowl",
        "making bowls of earth",
        "Her thumbs opened the spinning lump, and a bowl grew out of the wet earth.",
    ),
    _article(
        "falcon",
        "JS-9",
        "The peregrine falcon dives at its prey at more than 300 kilometres an hour. Falconers fly "
        "it at pigeons and call it back with a lure. Bells CODE tell where it is.",
        "which bird is the fastest when it hunts",
        "hunting with birds",
        "A dark point fell out of the sky, and feathers drifted over the square.",
    ),
    _article(
        "weaving",
        "LM-16",
        "On a loom the weft passes between the warp threads, which shafts lift in turn. Patterns "
        "were once punched into cards. The loom CODE has sixteen shafts.",
        "how do crossed threads become cloth",
        "turning yarn into cloth",
        "The shuttle flew back and forth, and hand by hand the blanket grew.",
    ),
    _article(
        "cheese",
        "RN-22",
        "Rennet curdles milk into curds and whey. The curds are pressed, salted and ripened in a "
        "cellar, some with mould. Powder CODE sets a hundred litres.",
        "how does milk become something solid that keeps for months",
        "ripening curds in cellars",
        "Wheel after wheel lay on the boards, and he tapped each and listened.",
    ),
    _article(
        "tide",
        "TG-60",
        "The moon's pull, and the sun's, raise two bulges of the sea that the turning earth passes "
        "under: so most coasts have two tides a day. The gauge CODE records them.",
        "why does the sea come and go twice between one midnight and the next",
        "the rise and fall of the sea",
        "By noon the boats lay on the sand, and by evening they rocked at the quay again.",
    ),
    _article(
        "locksmith",
        "PN-7",
        "In a pin tumbler lock a key lifts pins of different length to one line, and the plug "
        "turns. Pickers feel for the pin that binds. The cylinder CODE resists them.",
        "how does the right piece of metal open a door and a wrong one not",
        "keeping doors shut",
        "With two bent wires and a held breath he had it open within a minute.",
    ),
    _article(
        "silk",
        "SW-3",
        "Silkworms eat mulberry leaves and spin a cocoon of a single thread, a kilometre long. "
        "Cocoons are boiled and reeled on the machine CODE.",
        "where does the long thread of a caterpillar come from and how is it won",
        "thread from caterpillars",
        "In the warm shed there was a sound as of rain: thousands of them, eating leaves.",
    ),
    _article(
        "train",
        "PT-25",
        "A high-speed train draws its current from a wire overhead by a pantograph and needs wide "
        "curves. It brakes by feeding energy back. The collector strip is CODE.",
        "how do fast railways get their electricity while they move",
        "railways at great speed",
        "Fields smeared into green stripes, and the glass of water on the table did not stir.",
    ),
    _article(
        "mushroom",
        "SP-140",
        "Mushrooms are the fruit of a fungus whose threads live in soil or wood, often together "
        "with the roots of trees. Spawn CODE is sold for growing them at home.",
        "what lives under the ground that the caps in a wood belong to",
        "gathering fungi in woods",
        "After the rain the children found yellow caps in the moss, and one that was red.",
    ),
    _article(
        "lighthouse",
        "FR-1",
        "A lighthouse sends out flashes that tell sailors where they are. A Fresnel lens bundles "
        "the light of a small lamp, such as CODE, into a beam of twenty miles.",
        "how can a small lamp be seen from ships far out",
        "warning ships off rocks",
        "Every ten seconds the beam went over the ceiling of their room above the rocks.",
    ),
    _article(
        "ink",
        "OG-8",
        "Iron gall ink is made of oak galls, vitriol and gum. It goes on the parchment pale, turns "
        "black in the air, and it can eat through paper. Recipe CODE is milder.",
        "what did scribes write with that darkens as it dries",
        "what scribes wrote with",
        "The monk cut his quill anew, and the pale line turned black while he watched.",
    ),
    _article(
        "diving",
        "RG-50",
        "Divers breathe compressed air from a regulator. Who rises too fast gets the bends, as "
        "nitrogen forms bubbles in the blood. The regulator CODE works in cold water.",
        "why is it dangerous to come up quickly from deep water",
        "breathing under water",
        "At twenty metres she checked her gauge and followed her own bubbles slowly up.",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class MadeQuestion:
    """A question, and the names of the articles that it is about."""

    text: str
    about: tuple[str, ...]


def ordinary() -> list[MadeQuestion]:
    """About one subject, which is named; the rest in other words than the article's."""
    return [
        MadeQuestion(f"{article.name}: {article.question}?", (article.name,))
        for article in ARTICLES
    ]


def paraphrased() -> list[MadeQuestion]:
    """About one subject, hardly a word of which is the article's: BM25 can only mislead."""
    return [MadeQuestion(f"{article.question}?", (article.name,)) for article in ARTICLES]


def of_several_subjects(seed: int = 0) -> list[MadeQuestion]:
    """Short, about two to four subjects, as people type them: every other one named."""
    draw = random.Random(seed)
    made = []
    for number in range(36):
        chosen = draw.sample(ARTICLES, 2 + number % 3)
        *first, last = (
            article.name if place % 2 else article.phrase for place, article in enumerate(chosen)
        )
        made.append(MadeQuestion(f"{', '.join(first)} and {last}", _names(chosen)))
    return made


def stories(seed: int = 0) -> list[MadeQuestion]:
    """Long, a sentence for each of five to ten subjects."""
    draw = random.Random(seed)
    made = []
    for number in range(24):
        chosen = draw.sample(ARTICLES, 5 + number % 6)
        made.append(MadeQuestion(" ".join(a.sentence for a in chosen), _names(chosen)))
    return made


def exact_words() -> list[MadeQuestion]:
    """What only the words tell: a code that no model has seen."""
    return [MadeQuestion(f"where is {article.code} used", (article.name,)) for article in ARTICLES]


def _names(articles: list[Article]) -> tuple[str, ...]:
    return tuple(article.name for article in articles)
