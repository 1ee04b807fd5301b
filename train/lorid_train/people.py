"""Replaces first names in a problem by others of the same form, where that is surely a person.

Knows common English first names with one usual pronoun; none is an everyday word, a place or a
month, or ends in s. All else keeps its names.
"""

import random
import re

_SHE = (
    "Abby Abigail Agnes Alexa Alice Alicia Alyssa Amanda Amelia Amy Andrea Angela Anna Annie "
    "Ashley Barbara Becky Beth Betty Brenda Brianna Brittany Candice Carla Carmen Carol "
    "Caroline Carolyn Cassandra Catherine Cathy Christina Christine Cindy Claire Clara Courtney "
    "Cynthia Daisy Danielle Deborah Debra Diana Diane Donna Doris Dorothy Elaine Eleanor Elena "
    "Elise Elizabeth Ella Ellen Elsa Emily Emma Erica Erika Erin Esther Eva Evelyn Fiona Gina "
    "Gloria Greta Gwen Hannah Heather Helen Irene Isabel Isabella Isabelle Jackie Jane Janet "
    "Janice Jasmine Jean Jen Jenna Jennifer Jenny Jessica Jill Joan Joanna Josephine Joyce "
    "Judith Judy Julia Julie Karen Karla Kate Katherine Kathy Katie Kayla Kelly Kim Kimberly "
    "Krista Kristen Kristin Laura Lauren Leah Lena Lilah Lillian Linda Lisa Lori Lorraine Lucia "
    "Lucy Lydia Mandy Margaret Maria Marie Marilyn Marissa Martha Mary Maya Megan Melanie "
    "Melinda Melissa Mia Michelle Mila Miranda Molly Monica Nancy Naomi Natalia Natalie Nicole "
    "Nina Nora Olivia Pamela Patricia Paula Rachel Rebecca Rita Rosa Rosie Ruth Sally Samantha "
    "Sandra Sarah Serena Sharon Sheila Shelly Sherry Silvia Sonia Sophia Sophie Stacy Stella "
    "Stephanie Susan Suzanne Sylvia Tamara Tammy Tanya Tara Teresa Theresa Tina Valerie Vanessa "
    "Vera Veronica Victoria Wanda Wendy Yolanda Zoe"
)
_HE = (
    "Aaron Adam Adrian Alan Albert Alfred Andrew Andy Anthony Antonio Arnold Arthur Barry Ben "
    "Benjamin Benny Bernard Bobby Bradley Brandon Brendan Brian Bruce Bryan Byron Caleb Calvin "
    "Cameron Carl Cesar Chad Clark Clayton Cody Colin Connor Craig Curtis Damon Dan Daniel "
    "Danny Darren Darryl Dave David Dean Derek Diego Dominic Donald Donny Doug Duncan Dustin "
    "Dylan Eddie Edgar Eduardo Edward Edwin Eli Eric Erik Ernest Ethan Eugene Felix Fernando "
    "Francisco Fred Freddie Gary Gavin George Gerald Glen Gordon Greg Gregory Harold Harry "
    "Harvey Hector Henry Herbert Herman Howard Hugo Ian Isaac Ivan Jacob Jaime Jake James Jason "
    "Jayden Jeff Jeffrey Jeremy Jerry Jim Jimmy Joe Joel John Johnny Jon Jonathan Jordan Jorge "
    "Jose Joseph Josh Joshua Juan Julian Justin Karl Keith Ken Kenneth Kenny Kevin Kyle Larry "
    "Lawrence Leo Leon Leonard Leonardo Liam Logan Louie Luke Malcolm Manuel Marc Marco Marcus "
    "Mario Martin Marvin Matt Matthew Max Michael Miguel Mike Milo Mitchell Mohamed Nate Nathan "
    "Nathaniel Neil Nick Nicolas Noah Norman Oliver Oscar Owen Pablo Patrick Paul Pedro Pete "
    "Peter Phil Philip Phillip Ralph Ramon Randy Raul Ray Raymond Ricardo Richard Rick Ricky "
    "Robert Roberto Rodney Roger Roland Ron Ronald Ronnie Ross Roy Russell Ryan Sam Samuel "
    "Scott Sean Sebastian Sergio Seth Shane Shawn Simon Stan Stanley Stephen Steve Steven "
    "Stewart Ted Terry Theodore Tim Timothy Tobias Toby Todd Tom Tommy Tony Trevor Troy Tyler "
    "Victor Vincent Walter Warren Wayne William Zachary"
)
_FORMS = {name: form for form, names in (("she", _SHE), ("he", _HE)) for name in names.split()}
_BOTH = (
    "Jordan Victoria Jean Jackie Kim Sam Terry Andrea Cameron Max Dean Howard Madison Martin Ross "
    "Clark Stanley Dan George Warren Jaime"
)  # of either form, or also a surname or a place
_UNSAFE = frozenset(_BOTH.split())
NAMES = {name: form for name, form in _FORMS.items() if name not in _UNSAFE and name[-1] != "s"}
_BY_FORM = {form: sorted(n for n in NAMES if NAMES[n] == form) for form in ("she", "he")}
_PRONOUNS = {
    "she": re.compile(r"\b(?:she|hers?|herself)\b", re.IGNORECASE),
    "he": re.compile(r"\b(?:he|him|his|himself)\b", re.IGNORECASE),
}
_CAPITAL = re.compile(r"\b[A-Z][a-zA-Z]+\b")
_NAME = re.compile(r"\b(" + "|".join(sorted(NAMES, key=len, reverse=True)) + r")\b(?!-)")
_COMPOUND = re.compile(
    r"\b(?:[A-Z][a-z]+ (?!and\b)(?:{names})\b(?!'s)|(?:{names}) [A-Z][a-z]+)".replace(
        "{names}", "|".join(NAMES)
    )
)


def renaming(text: str, rng: random.Random) -> dict[str, str]:
    """Return old name -> new name for the names of `text` that may be changed; maybe empty.

    A name with another capitalised word beside it ('Lake Erin', 'Tom Sawyer') means none is.
    """
    names = list(dict.fromkeys(_NAME.findall(text)))
    if not names or any(not _opens_sentence(match) for match in _COMPOUND.finditer(text)):
        return {}
    told = {form for form, words in _PRONOUNS.items() if words.search(text)}
    if len(told) == 1 and not told & {NAMES[name] for name in names}:
        return {}  # 'Jamie spends her savings': of the other form here
    taken = set(_CAPITAL.findall(text))
    new: dict[str, str] = {}
    for name in names:
        same_form = _BY_FORM[NAMES[name]]
        choice = same_form[int(rng.random() * len(same_form))]
        if choice in taken:
            choice = name
        taken.add(choice)
        new[name] = choice
    return new


_OPENER_WORDS = (
    "If When While After Before On In At For Then Because Since Since As So Each Every Today "
    "Once Yesterday The That His Her Their By And But How Does Did Will Is Was Has Can Now "
    "Later Therefore Thus Finally First Next Together Altogether Initially Currently Monday "
    "Tuesday Wednesday Thursday Friday Saturday Sunday Mr Mrs Together Hence Combined Meanwhile "
    "Additionally Also Let With From To"
)
_OPENERS = frozenset(_OPENER_WORDS.split())


def _opens_sentence(match: re.Match[str]) -> bool:
    """True for 'If Tom': the capital is the sentence's, not part of a name."""
    first, _, second = match[0].partition(" ")
    return first in _OPENERS - {"Mr", "Mrs"} or (first in NAMES and second in _OPENERS)


def renamed(text: str, new: dict[str, str]) -> str:
    """Return `text` with the names of `new` replaced, all at once."""
    return _NAME.sub(lambda match: new.get(match[1], match[1]), text) if new else text
