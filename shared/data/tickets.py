"""Tickets to a shop's support and the matter each is about: the data of the classification task.

A ticket says what its writer wants, in a sentence that belongs to one of six matters. Three in ten mention a second matter
that is settled or no complaint, so that a word alone gives nothing away. At times a greeting, a name or an order's number
comes with it:

    Ticket: Good evening, My card was charged once, as it should be. How do I get the silk kettle back to you?
    Matter: return

TRAIN and HELDOUT share no phrasing and no value; greetings, names and order numbers are phrased as in the orders. A record
holds `prompt`, `completion` (the label with its space), `label` and `aside`, the matter that is mentioned besides, or None.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from shared.data import phrasings

PROMPT = "Ticket: {ticket}\nMatter:"
LABELS = ("delivery", "damage", "payment", "return", "account", "question")
INSTRUCTION = (
    "Sort the ticket by what its writer wants. Answer with one word: delivery (a parcel late or gone), damage (an article "
    "with a fault), payment (bill, card, voucher), return (give back or exchange), account (login, password, data) or "
    "question (about an article, before or after buying). What is settled does not count."
)


@dataclass(frozen=True)
class World:
    """What a ticket is made of, by label. Slots: {item} {problem} {number} {city} {date}."""

    orders: phrasings.World
    matters: dict[str, Sequence[str]]  # what is wanted
    asides: dict[str, Sequence[str]]  # the same subject, settled or no complaint


TRAIN = World(
    orders=phrasings.TRAIN,
    matters={
        "delivery": (
            "My parcel has not come yet.|Where is my {item}?|The {item} should have been here on {date}."
            "|I am still waiting for the {item}.|The driver left my box with people I do not know."
            "|The parcel went to {city}, and I do not live there.|Nobody has brought the {item}."
            "|The tracking page has not moved for {number} days.|When does the {item} get here?"
            "|Your driver did not ring and took the parcel away.|It says delivered, but there is no box at my door."
            "|The {item} is {number} days late.|We waited at home all day and no van came.|The parcel is lost."
            "|Please bring the {item} to {city}, the address is wrong.|The van drove past our house again."
            "|My order left your store {number} weeks ago and is not here.|Has the {item} been sent at all?"
            "|The post office in {city} has no parcel for me.|Can you tell me on which day the van comes?"
            "|I need to know where my box is.|The {item} never reached us.|Your tracking link shows the wrong town."
            "|The courier could not find our house."
        ).split("|"),
        "damage": (
            *phrasings.TRAIN.supports[:12],
            *(
                "One leg of the {item} broke off.|The {item} does not switch on.|The {item} fell apart after {number} days."
                "|The box was wet and the {item} is {problem}.|Something rattles inside the {item}."
                "|The {item} stopped working.|The {item} has a big scratch.|There is a hole in the box and in the {item}."
                "|A part of the {item} is broken.|The {item} smells burnt.|The {item} came with a fault."
                "|The paint comes off the {item}."
            ).split("|"),
        ),
        "payment": (
            "I was charged twice for the {item}.|My card was refused.|There is a mistake in the invoice."
            "|The invoice shows {number} of them, and I bought one.|The voucher does not work."
            "|You took too much money from my card.|I need an invoice for the {item}.|The bill does not match the price."
            "|The bank says you took the money two times.|Can I pay in {number} parts?|The discount was not taken off."
            "|My payment is not shown.|I paid by bank transfer, and you say you got nothing."
            "|To which bank account do I send the money?|The price went up after I paid."
            "|Why does my bill list two of the {item}?|The tax on my invoice is wrong."
            "|I want to pay by card, but the page stops.|You still have not booked my payment."
            "|Please send the bill to my firm.|The money went out on {date}, and again a day later.|Do you take cheques?"
            "|The reminder says I owe you money, but I have paid.|My sister's voucher is not accepted."
        ).split("|"),
        "return": (
            "I want to send the {item} back.|The {item} is too small, how do I return it?|I changed my mind about the {item}."
            "|Please send me a label to return the {item}.|I no longer need the {item}."
            "|Can I swap the {item} for a bigger one?|We ordered one {item} too many and want to give it back."
            "|How long may I keep the {item} before I return it?|The colour does not suit us, please take the {item} back."
            "|To which address do I send the {item} back?|Where do I drop off the {item} I do not want?"
            "|The {item} does not fit me.|I would like to exchange the {item}.|The {item} was a gift, and we have one already."
            "|Could your van pick the {item} up again?|I bought the wrong {item}, can I give it back?"
            "|I want to cancel and give the {item} back.|Is it free to send the {item} back?"
            "|The box is open, do you still take the {item} back?|We do not like the {item} and want our money back."
            "|Please collect the {item}, it is not what we want.|Do I need the box to return the {item}?"
            "|I would rather have the {item} in another colour.|The size is wrong, I need another {item}."
        ).split("|"),
        "account": (
            "I cannot log in.|My password does not work.|Please change my email address.|Delete my account."
            "|I want no more of your newsletters.|The code for the login does not come."
            "|How do I change the name in my profile?|My account is locked.|I have two accounts, please make one of them."
            "|The page says that my user name is taken.|Someone else has logged in as me.|I forgot my password."
            "|The link to set a new password is dead.|Please take my data out of your files."
            "|I moved to {city}, how do I change that in my profile?|I can't see my old orders after I log in."
            "|How do I sign up?|The app throws me out again and again.|My email is written wrong in my profile."
            "|I would like to close my profile.|Which data do you hold about me?|The login asks for a code I never got."
            "|Your page does not know my user name.|Please stop the emails to me."
        ).split("|"),
        "question": (
            "How wide is the {item}?|Do you have the {item} in stock?|Which {item} do you advise for a small room?"
            "|Is the {item} made of real wood?|Can the {item} stay outside in winter?|Does the {item} need batteries?"
            "|When will you have the {item} again?|Is there a {item} for children?|What does the {item} weigh?"
            "|How do I clean the {item}?|Does the {item} come with a manual?|May I see the {item} in your shop in {city}?"
            "|Will the {item} work with the one I have?|What is the price of {number} pieces?"
            "|Do you also sell parts for the {item}?|Is the {item} safe for food?|How long does the {item} last?"
            "|Which colours does the {item} come in?|Can I wash the {item}?|What is the weight of the {item}?"
            "|Does the {item} come in other sizes?|How many people can use the {item}?"
            "|Is it hard to put the {item} together?|I am looking for a {item}, what do you have?"
        ).split("|"),
    },
    asides={
        "delivery": (
            "The parcel came on time.|Your driver was friendly.|The van was here on {date}, as you said."
            "|The tracking page worked well.|The way to {city} took only {number} days.|The last box was late, but that is settled."
            "|I know that the parcel comes next week, that is fine.|The courier rang and waited, all good."
        ).split("|"),
        "damage": (
            "The box was in good shape.|The {item} I had before broke, but you sent another.|Nothing is broken."
            "|My other {item} had a scratch, which does not matter.|You have mended the {item} already, thanks."
            "|The old {item} fell apart years ago.|It works well, no fault at all.|The {item} of last year had no fault, either."
        ).split("|"),
        "payment": (
            "I paid by card at once.|The bill is right.|The invoice came by email.|The voucher worked, thanks."
            "|The money went out on {date}, as agreed.|I was charged twice once, but my bank has put it right."
            "|The price was fair.|My payment went through."
        ).split("|"),
        "return": (
            "I do not want to send it back.|I once returned a {item}, which went well.|The {item} I sent back has reached you."
            "|We will keep it, whatever you say.|The last return was easy.|I got my money back for the {item} long ago."
            "|There is no need to take it back.|Last year I swapped a {item} with you."
        ).split("|"),
        "account": (
            "I am logged in as always.|My account is an old one.|I wrote by email, too.|The new password works now."
            "|My profile is up to date.|The app runs well.|You changed my user name, thanks for that."
            "|I read your newsletter each week."
        ).split("|"),
        "question": (
            "I found the size on your page.|I know how to clean it.|The manual was clear.|You told me the weight, thanks."
            "|Your advice on the colour was good.|I asked about batteries before, and that is clear now."
            "|I saw it in your shop in {city}.|It was in stock, as you wrote."
        ).split("|"),
    },
)

HELDOUT = World(
    orders=phrasings.HELDOUT,
    matters={
        "delivery": (
            "The parcel still has not turned up.|My {item} was due on {date}, and nothing has come."
            "|Can you find out where the courier is with my box?|The tracking page says the {item} is stuck in {city}."
            "|The driver put the parcel in front of the wrong house.|How much longer will the {item} take to reach me?"
            "|After {number} days there is no van and no {item}.|Somebody signed for my parcel, but it was not me."
        ).split("|"),
        "damage": (
            *phrasings.HELDOUT.supports,
            *"The {item} broke on the first day.|My {item} does not work any more.|I found a hole in the {item}.".split(
                "|"
            ),
        ),
        "payment": (
            "The money for the {item} was taken from my card twice.|Your invoice lists a price that we did not agree on."
            "|My voucher was not accepted at the till.|I have paid, and yet you send me a reminder."
            "|How can I pay if the card is refused?|We need the invoice made out to our firm."
            "|The bank tells me that no payment was booked.|Too much was charged for one {item}."
        ).split("|"),
        "return": (
            "How do I get the {item} back to you?|This {item} is the wrong size, and I want another one."
            "|I have no use for the {item} and would like to give it back.|May we exchange the {item}?"
            "|Please tell me where to send the {item} that I do not want.|Would you take back a {item} that was opened?"
            "|The {item} does not suit us, so we will return it.|We changed our plans and do not need the {item}."
        ).split("|"),
        "account": (
            "The site refuses my password.|How can I log in without the code?|I want you to delete my profile and all data."
            "|My email address has changed, please put in the new one.|Someone got into my account."
            "|Take me off your newsletter.|I can't remember my user name.|The app says that my account does not exist."
        ).split("|"),
        "question": (
            "What size is the {item}?|Could you tell me if the {item} is in stock?|Does one need batteries to run the {item}?"
            "|Is a {item} good for use outside?|What is the {item} made of?|Is this {item} the best one for children?"
            "|I would like to know the weight of the {item}.|How should the {item} be cleaned?"
        ).split("|"),
    },
    asides={
        "delivery": (
            "The van came on the right day.|Your courier did a good job.|The parcel reached me quickly."
            "|My box was late once, which is forgotten."
        ).split("|"),
        "damage": (
            "Nothing is wrong with the {item} itself.|An older {item} broke, and you sent a new one."
            "|The box had no hole and no scratch.|The {item} works as it should."
        ).split("|"),
        "payment": (
            "My card was charged once, as it should be.|The invoice is fine.|I have paid in full."
            "|You sorted out the bill last week."
        ).split("|"),
        "return": (
            "I would never give it back.|The exchange of my other {item} was quick.|You took back a {item} in spring, thanks."
            "|Please do not think that I want to return it."
        ).split("|"),
        "account": (
            "Logging in was no problem.|My email address is still the same.|I reset my password last week, and it works."
            "|Your app is good."
        ).split("|"),
        "question": (
            "The size is clear to me.|Your answer about the batteries helped.|I know what it is made of."
            "|I have read the manual."
        ).split("|"),
    },
)
UNFIT = {"late", "wrong", "incomplete", "missing"}  # problems that would make another matter of it


def make_example(world: World, rng: random.Random) -> tuple[dict[str, object], list[str]]:
    """A record of `world` and the phrasings it was made of."""
    orders, values, used = world.orders, world.orders.values, []
    things = iter(rng.sample(values.things, 5))  # no thing stands twice

    def phrase(choices: Sequence[str], **slots: object) -> str:
        used.append(rng.choice(choices))
        return used[-1].format(
            item=f"{rng.choice(values.kinds)} {next(things)}",
            problem=rng.choice([problem for problem in values.problems if problem not in UNFIT]),
            number=rng.choice(values.years),
            city=rng.choice(values.cities),
            date=rng.choice(values.dates),
            **slots,
        )

    label, aside = rng.sample(LABELS, 2)
    parts = [phrase(world.matters[label])]
    if rng.random() < 0.3:
        parts.insert(rng.randrange(2), phrase(world.asides[aside]))
    else:
        aside = None
    name = f"{rng.choice(values.first_names)} {rng.choice(values.last_names)}"
    if rng.random() < 0.15:
        parts.append(phrase(orders.order_numbers, order=rng.choice(values.order_numbers)))
    opening = rng.random()
    if opening < 0.25:
        parts.insert(0, phrase(orders.introductions, name=name))
    elif opening < 0.5:
        parts.append(phrase(orders.signatures, name=name))
    elif opening < 0.65:
        parts.insert(0, phrase(orders.greetings))
    ticket = " ".join(text[0].upper() + text[1:] for text in parts)
    return {"prompt": PROMPT.format(ticket=ticket), "completion": f" {label}", "label": label, "aside": aside}, used


FILES = {"tickets-train.jsonl": (TRAIN, 1200, 51), "tickets-heldout.jsonl": (HELDOUT, 300, 42)}
