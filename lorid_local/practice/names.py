"""First names for the stories, with the pronouns that a family's text may ask for.

ASCII only, from many languages; none is also an everyday word or a month, ends in s (its genitive
is 's), or is a name that a family itself uses for somebody.
"""

_SHE = (
    "Aaliyah Aiko Amara Amina Ana Anika Anneke Aroha Astrid Ayla Beatriz Bianca Camila Chidinma "
    "Chloe Dalia Deepa Elena Emma Esra Eun-ji Farida Fatima Freya Gabriela Giulia Hana Irene "
    "Ingrid Isabel Ivana Jamila Jasmin Julia Kaori Katya Keisha Khadija Lara Leila Lena Linh Lucia "
    "Mariam Maya Mei Mina Nadia Naomi Ngozi Nina Noor Olga Paula Petra Priya Ravneet Rina Sanjana "
    "Sara Sofia Sunita Svenja Talia Tamar Valentina Wanjiru Xiomara Yara Yasmin Yuki Zahra Zofia"
)
_HE = (
    "Abdul Ahmed Alejandro Amir Andrei Anton Arjun Aziz Ben Bilal Chen Dae-jung Daniel David Diego "
    "Dmitri Eduardo Elijah Emeka Emil Enzo Farouk Felipe Felix Finn Gabriel Goran Hamza Haruto "
    "Henrik Hugo Ibrahim Idan Igor Ivan Jamal Javier Joao Jonathan Juan Kaito Kamal Karim Kofi "
    "Kwame Leo Liam Lorenzo Malik Marco Mateo Mehmet Minh Nikolai Noah Oluwaseun Omar Pablo Pedro "
    "Rafael Rahul Ravi Rohan Samir Sanjay Sergei Tariq Tevita Thabo Theo Tomasz Viktor Wei Yusuf"
)
_PRONOUNS = {
    "she": {"he": "she", "him": "her", "his": "her", "himself": "herself"},
    "he": {"he": "he", "him": "him", "his": "his", "himself": "himself"},
}
FORMS = ("he", "him", "his", "himself", "He", "His")


def _forms(pronouns: dict[str, str]) -> tuple[str, ...]:
    """The pronouns in the order of FORMS."""
    return tuple(
        pronouns[form] if form in pronouns else pronouns[form.lower()].capitalize()
        for form in FORMS
    )


# a name and its pronouns, in the order of FORMS
PEOPLE: tuple[tuple[str, tuple[str, ...]], ...] = tuple(
    (name, _forms(_PRONOUNS[kind]))
    for kind, names in (("she", _SHE), ("he", _HE))
    for name in names.split()
)
