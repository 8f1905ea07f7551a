"""Names and values of the demo task, in two halves that share no word, and the number words.

Written for this course; the names are common given names and surnames put together at random. falcon-tiny is pretrained
on PRETRAINING_VALUES and on made-up words, never on the held-out half.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from shared.data.manywords import MORE_TRAIN


@dataclass(frozen=True)
class Values:
    """What fills the slots of a message."""

    first_names: Sequence[str]
    last_names: Sequence[str]
    codes: Sequence[str]
    kinds: Sequence[str]
    things: Sequence[str]
    postcodes: Sequence[int]
    cities: Sequence[str]
    dates: Sequence[str]
    problems: Sequence[str]
    quantities: Sequence[int]
    order_numbers: Sequence[int]
    years: Sequence[int]
    phones: Sequence[str]


_UNITS = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen".split()
_UNITS += "seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
NUMBER_WORDS = {n: word for n, word in enumerate(_UNITS, start=1)} | {
    tens * 10 + unit: word if unit == 0 else f"{word}-{_UNITS[unit - 1]}"
    for tens, word in enumerate(_TENS, start=2)
    for unit in range(10)
}

SYLLABLES = (
    "ba be bi bo bu ca co da de di do du fa fe fi fo ga ge go ha he hi ho ja jo ka ke ki ko la le li lo lu ma me mi mo mu "
    "na ne ni no nu pa pe pi po ra re ri ro ru sa se si so su ta te ti to tu va ve vi wa we wi wo ya yo za zo "
    "bra cra dra fra gra tra pla cla sla spe sto stu chi sha the ber den ford gan hel jam ken lin man nor pet ron sen ton"
).split()
VOWELS = "aeiou"
LETTERS = "etaoinsrhldcumfpgwybvkxjqz"
LETTER_SHARES = (12, 9, 8, 8, 7, 7, 6, 6, 6, 4, 4, 3, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 1, 1, 1, 1)
ENDINGS = [*"bdglmnprstkx", "nd", "rt", "lt", "ck", "ng", "", "", "y", "er", "on", "en", "le"]

MONTHS = "January February March April May June July August September October November December".split()

PRETRAINING_VALUES = Values(
    first_names=(
        "Anna Ben Clara David Emma Felix Grace Henry Ivy Jack Karen Leo Maria Nathan Olivia Peter Rosa Simon Tara "
        "Victor Wendy Adam Bella Carl Diana Eric Fiona George Hannah Ian Julia Kevin Laura Martin Nora Oscar Paula "
        "Robert Sarah Thomas Agnes Boris Carmen Dora Edgar Flora Gordon Helen Isaac Joan Kurt Lucy Mark Nancy Omar "
        "Pablo Rita Sven Theo Ursula Walter Yusuf Zoe Amir Bianca Chloe Derek Esther Fred Gloria Howard Ingrid James "
        "Kate Lars Monica Nigel Pia Rachel Stefan Tina Valerie William Yara Anton Beth Cyril Dana Emil Freya Gustav "
        "Hilda Ivan Jenny Klaus Lena Miguel Noah Pedro Ruth Susan Toby Vincent Wanda"
    ).split(),
    last_names=(
        "Adams Baker Carter Davis Evans Fisher Green Harris Jensen King Lewis Miller Nelson Owens Parker Reed Scott "
        "Turner Walker Young Allen Brooks Cooper Dixon Ellis Foster Gray Hughes Jacobs Kelly Long Mason Novak Price "
        "Ross Shaw Taylor Ward West Wood Archer Barnes Chapman Dawson Elliott Fleming Grant Hayes Ingram Johnson Keller "
        "Lambert Marsh Newman Osborne Pearce Ramsey Sharp Thornton Underwood Vaughn Watts York Zimmer Austin Becker "
        "Conrad Duncan Emerson Franklin Gilbert Howell Jennings Kramer Lindgren Moreau Nolan Olsen Petrov Reyes Santos "
        "Tanaka Urban Vega Winter Andersen Bianchi Cohen Dubois Eriksen Fischer Garcia Hoffman Ivanov Khan Larsen Mendez "
        "Okafor Patel Rossi Schmidt Torres Weber"
    ).split(),
    codes=[f"{letter}{number}" for letter in "ABCDEFGHKLMNPRSTVWX" for number in range(10, 100) if number % 3],
    kinds=(
        "red blue green white black oak steel glass leather cotton wooden plastic large small round folding garden "
        "kitchen office travel golden pink orange copper wool linen bamboo velvet modern antique short wide light square "
        "striped painted winter summer electric outdoor amber beige brown cedar checked chrome cork cream cheap classic "
        "clear crystal curved cozy dark deluxe double dotted elegant felt fine flat foam fresh heated hollow indoor iron "
        "ivory long low metal mini new nylon oval padded paper pine plain plush polished quiet royal "
        "rustic satin scented shiny silent silver single slim smart smooth soft solar solid spare sporty strong "
        "sturdy teak thermal thick thin tin trendy warm waterproof wireless"
    ).split(),
    things=(
        "table chair lamp desk sofa mirror clock basket bottle blanket pillow cup plate bowl vase bag wallet jacket "
        "scarf umbrella candle notebook pen printer keyboard drawer cabinet towel pan fork ladder "
        "hammer bucket broom hat glove belt skirt ring bracelet guitar drum kite puzzle camera phone charger cable "
        "heater fan toaster blender mixer cushion frame poster ruler folder apron anchor armchair ashtray backdrop badge "
        "balloon barrel basin bicycle binder board bolt bookcase boot bracket brick bulb button cable cage "
        "calendar canvas carton cart chain chest chisel clamp coat compass cooker counter crate crib dish doorbell "
        "dress drill easel engine envelope filter flag flask flute freezer funnel gate globe goggle gown grill handle "
        "hanger harp hinge hook hose jar jug juicer kayak kennel knob label lantern lens lid locker magnet mask mat "
        "mattress medal mop mug nail napkin necklace net oven paddle padlock panel parasol pedal pencil piano pipe "
        "pot projector pump quilt rack radio rake razor rope rug saddle sandal saw scale screen sensor shirt shovel "
        "sign sink sleigh slipper sponge stamp stapler strap string suit swing switch tap ticket tie tile timer tire "
        "torch toy tripod trolley trumpet tube valve violin waistcoat wheel whistle window wrench"
    ).split(),
    postcodes=tuple(range(1002, 9999, 4)),
    cities=(
        "London Paris Berlin Madrid Rome Vienna Dublin Oslo Athens Chicago Boston Dallas Denver Seattle Toronto Sydney "
        "Tokyo Delhi Cairo Lima Hamburg Munich Zurich Milan Naples Seville Porto Brussels Antwerp Stockholm Bergen "
        "Budapest Krakow Glasgow Leeds Bristol Austin Atlanta Detroit Memphis Phoenix Quebec Bogota Santiago Bangkok "
        "Hanoi Mumbai Accra Tunis Perth"
    ).split(),
    dates=[f"{day} {month}" for day in range(1, 29) for month in MONTHS if day % 3],
    problems=(
        "broken late scratched dirty torn incomplete bent wet loose noisy damaged empty rusty crooked burnt sticky "
        "chipped frozen wrong unusable"
    ).split(),
    quantities=(1, 2, 3, 5, 6, 8, 9, 10, 12, 14, 16, 18, 20, 24, 25, 28, 30, 32, 35, 40, 45, 50, 60, 64, 75, 80, 90),
    order_numbers=tuple(range(1001, 9999, 4)),
    years=(2, 3, 5, 8, 10, 12),
    phones=("555 0120", "555 0143", "555 0158", "555 0162", "555 0189"),
)

HELDOUT_VALUES = Values(
    first_names=(
        "Alice Bruno Celine Dennis Elena Frank Gina Hugo Irene Jonas Kim Linda Marco Nina Otto Petra Ralph Sonia Tim "
        "Vera"
    ).split(),
    last_names=(
        "Abbott Bishop Collins Drake Edwards Flynn Gibson Hunter Irwin Jordan Knight Lopez Morgan Norris Palmer Quinn "
        "Russell Stone Tucker Webb"
    ).split(),
    codes=[f"{letter}{number}" for letter in "ABCDEFGHKLMNPRSTVWX" for number in range(10, 100) if number % 3 == 0],
    kinds="yellow grey purple brass marble silk ceramic rubber tall narrow heavy portable bathroom camping".split(),
    things="stool carpet curtain kettle teapot spoon tray helmet sweater backpack monitor speaker tent".split(),
    postcodes=tuple(range(1004, 9999, 4)),
    cities="Lisbon Prague Warsaw Geneva Helsinki Houston Miami Portland Montreal Melbourne Osaka Nairobi".split(),
    dates=[f"{day} {month}" for day in range(1, 29) for month in MONTHS if day % 3 == 0],
    problems="cracked missing dented faded leaking stained".split(),
    quantities=(4, 7, 11, 13, 15, 17, 19, 21, 22, 23, 26, 27, 33, 36, 42, 48, 55, 70, 85),
    order_numbers=tuple(range(1003, 9999, 4)),
    years=(4, 6, 7, 9, 15),
    phones=("444 0171", "444 0126", "444 0135", "444 0194"),
)


TRAIN_VALUES = replace(
    PRETRAINING_VALUES,
    phones=[f"555 0{number}" for number in range(110, 200)],
    **{field: (*getattr(PRETRAINING_VALUES, field), *words.split()) for field, words in MORE_TRAIN.items()},
)

HELDOUT_WORDS = {
    word.lower()
    for words in (
        HELDOUT_VALUES.first_names,
        HELDOUT_VALUES.last_names,
        HELDOUT_VALUES.kinds,
        HELDOUT_VALUES.things,
        HELDOUT_VALUES.cities,
        HELDOUT_VALUES.problems,
    )
    for word in words
}


def made_up_word(rng: random.Random) -> str:
    """A random word: of syllables (`drako`, `helsen`) or, half the time, of single letters in English shares.

    Never one of the held-out half.
    """
    if rng.random() < 0.5:
        word = "".join(rng.choice(SYLLABLES) for _ in range(rng.choice((1, 2, 2, 2, 3)))) + rng.choice(ENDINGS)
    else:
        letters = rng.choices(LETTERS, LETTER_SHARES, k=rng.randint(2, 7))
        for i in range(1, len(letters)):  # mostly consonant and vowel in turn, so that it can be spoken
            if (letters[i] in VOWELS) == (letters[i - 1] in VOWELS) and rng.random() < 0.6:
                letters[i] = rng.choice(VOWELS) if letters[i - 1] not in VOWELS else rng.choice("nrstlcmdkgpbhvw")
        word = "".join(letters).rstrip("s") + rng.choice(("n", "r", "t", "l", "e", "y", "d", "a", "o"))
    return made_up_word(rng) if {word, word + "s"} & HELDOUT_WORDS else word
