"""The relations of the world: how passages state them, and how questions ask for them."""

from __future__ import annotations

from dataclasses import dataclass

from programs.worlds.facts import Kind


@dataclass(frozen=True)
class Relation:
    """A relation from things of one kind to things or values of another.

    A subject has at most one object. `{s}` stands for the subject, `{o}` for the object and `{x}`
    for the phrase that names a thing in a question.

    Args:
        name: its name in facts and proofs.
        subject: the kind of the subject.
        object: the kind of the object.
        sentences: sentences that state it, each with the same meaning.
        noun: a phrase that names the object by the subject; none if a question never does.
        ask: the question for the object; none if it is never asked for.
        inverse: a phrase that names the subject by the object; none if a question never does.
        event: of a year, a phrase that names what happened in it; none if a question never does.
        earlier: of a year, the question which of two subjects, `{a}` or `{b}`, has the earlier one.
    """

    name: str
    subject: Kind
    object: Kind
    sentences: tuple[str, ...]
    noun: str = ""
    ask: str = ""
    inverse: str = ""
    event: str = ""
    earlier: str = ""


_ALL = (
    # A country.
    Relation(
        "capital", "country", "town",
        ("The capital of {s} is {o}.", "{s} is governed from its capital, {o}."),
        "the capital of {x}", "What is the capital of {x}?",
        "the country whose capital is {x}",
    ),
    Relation(
        "currency", "country", "word",
        ("People in {s} pay with the {o}.", "The currency of {s} is the {o}."),
        ask="What is the currency of {x}?",
    ),
    Relation(
        "language", "country", "word",
        ("The language of {s} is {o}.", "In {s}, people speak {o}."),
        ask="Which language is spoken in {x}?",
    ),
    # A town.
    Relation(
        "country", "town", "country",
        ("{s} is a town in {o}.", "{s} is one of the towns of {o}."),
        "the country of {x}", "Which country is home to {x}?",
    ),
    Relation(
        "river", "town", "river",
        ("The {o} flows through {s}.", "{s} stands on the banks of the {o}."),
        "the river that flows through {x}", "Which river flows through {x}?",
    ),
    Relation(
        "town_founded", "town", "year",
        ("{s} was founded in {o}.", "The first houses of {s} were built in {o}."),
        ask="What is the founding year of {x}?",
        event="the foundation of {x}",
        earlier="Which town was founded earlier, {a} or {b}?",
    ),
    Relation(
        "craft", "town", "word",
        ("{s} is known for its {o}.", "Visitors come to {s} for its {o}."),
        ask="What is the best-known product of {x}?",
    ),
    Relation(
        "road", "town", "town",
        ("An old road leads from {s} to {o}.", "A weekly coach runs from {s} to {o}."),
    ),
    # A river.
    Relation(
        "mountain", "river", "word",
        ("The {s} rises on {o}.", "The springs of the {s} are on {o}."),
        ask="Which mountain has the springs of {x}?",
    ),
    Relation(
        "sea", "river", "word",
        ("The {s} flows into the {o}.", "The {s} ends in the {o}."),
        ask="Which sea lies at the mouth of {x}?",
    ),
    Relation(
        "length", "river", "number",
        ("The {s} is {o} kilometres long.", "The length of the {s} is {o} kilometres."),
        ask="What is the length in kilometres of {x}?",
    ),
    # A person.
    Relation(
        "trade", "person", "word",
        ("{s} worked as a {o}.", "{s} earned a living as a {o}."),
        ask="What was the profession of {x}?",
    ),
    Relation(
        "born_in", "person", "town",
        ("{s} was born in {o}.", "{s} came from {o}."),
        "the birthplace of {x}", "Which town was the birthplace of {x}?",
    ),
    Relation(
        "born_year", "person", "year",
        ("{s} was born in the year {o}.", "The birth of {s} is recorded for {o}."),
        ask="What was the year of birth of {x}?",
        event="the birth of {x}",
        earlier="Who was born earlier, {a} or {b}?",
    ),
    Relation(
        "died_year", "person", "year",
        ("{s} died in {o}.", "{s} lived until {o}."),
        ask="What was the year of death of {x}?",
        event="the death of {x}",
    ),
    Relation(
        "studied_at", "person", "university",
        ("{s} studied at the {o}.", "{s} was a student of the {o}."),
        "the university attended by {x}", "Which university was attended by {x}?",
    ),
    Relation(
        "taught_by", "person", "person",
        ("{s} was taught by {o}.", "{s} learned the profession from {o}."),
        "the teacher of {x}", "Who was the teacher of {x}?",
    ),
    Relation(
        "letters", "person", "person",
        ("{s} wrote many letters to {o}.", "{s} was often compared with {o}."),
    ),
    # A university.
    Relation(
        "university_town", "university", "town",
        ("The {s} is in {o}.", "The lecture halls of the {s} stand in {o}."),
        "the town that is home to {x}", "Which town is home to {x}?",
    ),
    Relation(
        "university_founded", "university", "year",
        ("The {s} was opened in {o}.", "The first lecture of the {s} was held in {o}."),
        ask="What was the opening year of {x}?",
        event="the opening of {x}",
        earlier="Which university was opened earlier, {a} or {b}?",
    ),
    Relation(
        "rector", "university", "person",
        ("The first rector of the {s} was {o}.", "{o} became the first rector of the {s}."),
        "the first rector of {x}", "Who was the first rector of {x}?",
        "the university whose first rector was {x}",
    ),
    # A company.
    Relation(
        "founder", "company", "person",
        ("{s} was set up by {o}.", "The founder of {s} was {o}."),
        "the founder of {x}", "Who was the founder of {x}?", "the company set up by {x}",
    ),
    Relation(
        "seat", "company", "town",
        ("{s} has its seat in {o}.", "The head office of {s} is in {o}."),
        "the seat of {x}", "Which town is the seat of {x}?",
    ),
    Relation(
        "company_founded", "company", "year",
        ("{s} opened its doors in {o}.", "{s} has been in business since {o}."),
        ask="What is the founding year of {x}?",
        event="the foundation of {x}",
        earlier="Which company was founded earlier, {a} or {b}?",
    ),
    Relation(
        "product", "company", "word",
        ("{s} makes {o}.", "{s} earns its money with {o}."),
        ask="What is made by {x}?",
    ),
    # A novel.
    Relation(
        "author", "novel", "person",
        ("{s} is a novel by {o}.", "The novel {s} was written by {o}."),
        "the author of {x}", "Who was the author of {x}?", "the novel by {x}",
    ),
    Relation(
        "published_by", "novel", "company",
        ("{s} was printed by {o}.", "The rights to {s} belong to {o}."),
        "the publisher of {x}", "Which company is the publisher of {x}?",
    ),
    Relation(
        "published_year", "novel", "year",
        ("{s} was first printed in {o}.", "Readers first saw {s} in {o}."),
        ask="What was the year of publication of {x}?",
        event="the publication of {x}",
    ),
    Relation(
        "set_in", "novel", "town",
        ("The story of {s} takes place in {o}.", "{s} is set in {o}."),
        "the setting of {x}", "Which town is the setting of {x}?",
    ),
    # An opera.
    Relation(
        "composer", "opera", "person",
        ("{s} is an opera by {o}.", "The music of {s} was written by {o}."),
        "the composer of {x}", "Who was the composer of {x}?", "the opera by {x}",
    ),
    Relation(
        "premiere", "opera", "building",
        ("{s} was first performed at the {o}.", "The first night of {s} was at the {o}."),
        "the theatre of the first performance of {x}",
        "Which theatre saw the first performance of {x}?",
    ),
    Relation(
        "premiere_year", "opera", "year",
        ("{s} was first heard in {o}.", "Audiences first heard {s} in {o}."),
        ask="What was the year of the first performance of {x}?",
        event="the first performance of {x}",
    ),
    # A painting.
    Relation(
        "painter", "painting", "person",
        ("{s} is a painting by {o}.", "{o} painted {s}."),
        "the painter of {x}", "Who was the painter of {x}?", "the picture by {x}",
    ),
    Relation(
        "museum", "painting", "building",
        ("{s} hangs in the {o}.", "Visitors can see {s} in the {o}."),
        "the museum that shows {x}", "Which museum shows {x}?",
    ),
    Relation(
        "painted_year", "painting", "year",
        ("{s} was finished in {o}.", "{s} is dated {o}."),
        ask="What was the year of completion of {x}?",
        event="the completion of {x}",
    ),
    # A building.
    Relation(
        "building_town", "building", "town",
        ("The {s} was built in {o}.", "The {s} is a sight of {o}."),
        "the site of {x}", "Which town is the site of {x}?",
    ),
    Relation(
        "architect", "building", "person",
        ("The {s} was designed by {o}.", "{o} drew the plans of the {s}."),
        "the architect of {x}", "Who was the architect of {x}?", "the building designed by {x}",
    ),
    Relation(
        "built_year", "building", "year",
        ("The {s} was completed in {o}.", "Work on the {s} ended in {o}."),
        ask="What was the year of completion of {x}?",
        event="the completion of {x}",
        earlier="Which building was completed earlier, {a} or {b}?",
    ),
    # An award.
    Relation(
        "named_after", "award", "person",
        ("The {s} is named after {o}.", "The {s} honours the memory of {o}."),
        "the namesake of {x}", "Who gave their name to {x}?",
        "the award named after {x}",
    ),
    Relation(
        "winner", "award", "person",
        ("{o} was the first to receive the {s}.", "The {s} was first given to {o}."),
        "the first winner of {x}", "Who was the first winner of {x}?",
        "the award first given to {x}",
    ),
    Relation(
        "award_year", "award", "year",
        ("The {s} was first given in {o}.", "The {s} has existed since {o}."),
        ask="What was the year of the first award of {x}?",
        event="the first award of {x}",
    ),
    # Of things of any kind, it only says that two names are alike.
    Relation("alike", "word", "word", ("{s} is sometimes confused with {o}.",)),
)  # fmt: skip

RELATIONS = {relation.name: relation for relation in _ALL}
