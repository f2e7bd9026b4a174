"""Write the data files of the world: `python -m programs.worlds.write_files`."""

from __future__ import annotations

from programs.json_lines import DATA, Rows, write_files
from programs.worlds.build import build_world
from programs.worlds.conversations import write_conversations
from programs.worlds.judgements import write_judgements
from programs.worlds.passages import write_passages
from programs.worlds.questions import Kind, QuestionWriter, split_questions

FOLDER = DATA / "world"
SEED = 20

QUESTIONS: dict[str, dict[Kind, int]] = {
    "train": {"three hops": 44, "two hops": 60, "comparison": 16},
    "val": {"three hops": 30, "two hops": 40, "comparison": 10},
    "test": {"three hops": 36, "two hops": 50, "comparison": 14},
}
SUMS: dict[str, dict[Kind, int]] = {
    "train": {"years between": 40},
    "val": {"years between": 20},
    "test": {"years between": 30},
}
JUDGEMENTS = {"train": 60, "val": 40, "test": 60}


def files() -> dict[str, Rows]:
    """Make the rows of every file by its name."""
    world = build_world(SEED)
    passages = write_passages(world, SEED)
    writer = QuestionWriter(world, passages, SEED)
    made: dict[str, Rows] = {"passages": [passage.to_json() for passage in passages]}
    for split, questions in split_questions(writer, QUESTIONS, SEED).items():
        made[f"questions_{split}"] = [question.to_json() for question in questions]
        made[f"conversations_{split}"] = write_conversations(world, questions)
        made[f"judgements_{split}"] = write_judgements(world, questions, JUDGEMENTS[split], SEED)
    for split, questions in split_questions(writer, SUMS, SEED).items():
        made[f"years_{split}"] = [question.to_json() for question in questions]
    return {f"{name}.jsonl": rows for name, rows in made.items()}


if __name__ == "__main__":
    write_files(FOLDER, files())
