"""Recipes, role examples, masking and batch plans: all that needs no torch."""

import json
from pathlib import Path

import pytest

from lorid_local.engine import Role
from lorid_local.errors import SettingsError, TrainError
from lorid_local.prompts import profile
from lorid_train import data, data_recipe, masking
from lorid_train import recipe as recipes

RECIPES = Path(__file__).parents[1] / "train" / "recipes"
PROFILE = profile("terse-1")
ROWS = [
    {
        "question": "Ann has 3  red and 4 blue beads.\nHow many beads has she?",
        "answer": "Ann has 3 + 4 = <<3 + 4=7>>7 beads.\n#### 7",
    },
    {"question": "What is half of 9?", "answer": "Half is <<9/2=4>>4.\n#### 4"},
    {"question": "How many is 2 and 2?", "answer": "It is <<2+2=4>>4.\n#### 5"},
    {"question": "How many is a dozen?", "answer": "Twelve.\n#### 12"},
    {"question": "What do 1,500 twos make?", "answer": "<<1500*2=3000>>3000\n#### 3,000"},
    {"question": "How many is 1 and 1?", "answer": "<<1+1=2>>2\n#### 2"},
]
RULES = [
    {"id": 0, "knowledge": ["Add the parts to get the whole.", "Add the parts to get the whole."]},
    {"id": 4, "knowledge": ["Multiply the count by the size.", "Then check."]},
    {"id": 5, "knowledge": ["Add."]},
]


def write_lines(path: Path, records: list[dict[str, object]]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in records))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A data folder with six problems, of which line 5 is left out by name."""
    write_lines(tmp_path / "train.jsonl", ROWS)  # type: ignore[arg-type]
    write_lines(tmp_path / "rules.jsonl", RULES)  # type: ignore[arg-type]
    (tmp_path / "dev_ids.txt").write_text("5\n")
    return tmp_path


FILES = recipes.Data("train.jsonl", "rules.jsonl", leave_out=("dev_ids.txt",))


def test_ir_examples_are_terse_equations_and_unverified_chains_are_left_out(root: Path) -> None:
    examples = data.build(FILES, root, Role.IR, PROFILE)
    assert [(e.id, e.target) for e in examples.kept] == [
        (0, "<<3+4=7>>\n#### 7"),
        (4, "<<1500*2=3000>>\n#### 3000"),
    ]
    # line 1 is false, line 2 ends in another number than its answer, line 3 has no step
    assert examples.left_out == {"dev_ids.txt": 1, "no verified chain": 3}
    text = "".join(part.text for part in examples.kept[0].prompt)
    assert "Ann has 3 red and 4 blue beads. How many beads has she?" in text
    assert "Add the parts" not in text


def test_kg_examples_are_the_distinct_rules(root: Path) -> None:
    examples = data.build(FILES, root, Role.KG, PROFILE)
    assert [(e.id, e.target) for e in examples.kept] == [
        (0, "Add the parts to get the whole."),
        (4, "Multiply the count by the size.\nThen check."),
    ]


def test_dr_examples_carry_the_rules_in_the_prompt_and_prose_as_target(root: Path) -> None:
    first = data.build(FILES, root, Role.DR, PROFILE).kept[0]
    assert first.target == "Ann has 3 + 4 = <<3 + 4=7>>7 beads.\n#### 7"
    text = "".join(part.text for part in first.prompt)
    end = "<|im_end|>\n<|im_start|>assistant\n"
    assert text.endswith("Rules:\nAdd the parts to get the whole." + end)


def rules_shown(root: Path, role: Role, share: float, seed: int) -> list[str]:
    """Return what stands between "Rules:" and the end of each prompt, line 0's and line 4's."""
    examples = data.build(FILES, root, role, PROFILE, share, seed).kept
    return [e.prompt[1].text.partition("\nRules:\n")[2] for e in examples]


def test_a_share_of_the_rules_is_spoiled_the_same_way_every_time(root: Path) -> None:
    true = rules_shown(root, Role.DR, 0.0, 1)
    assert true == [
        "Add the parts to get the whole.",
        "Multiply the count by the size.\nThen check.",
    ]
    spoiled = [tuple(rules_shown(root, Role.DR, 1.0, seed)) for seed in range(40)]
    assert spoiled == [tuple(rules_shown(root, Role.DR, 1.0, seed)) for seed in range(40)]
    lists = {second for _, second in spoiled}
    first, last = true[1].splitlines()
    # none; some missing; another order; another problem's; one of another problem's in its place
    assert {"", first, last, f"{last}\n{first}", true[0]} <= lists
    assert f"{true[0]}\n{last}" in lists or f"{first}\n{true[0]}" in lists
    halves = [tuple(rules_shown(root, Role.DR, 0.5, seed)) for seed in range(40)]
    whole = sum(half[0] == true[0] for half in halves)
    assert 15 < whole < 40
    targets = {e.target for e in data.build(FILES, root, Role.DR, PROFILE, 1.0, 3).kept}
    assert targets == {e.target for e in data.build(FILES, root, Role.DR, PROFILE).kept}


def test_only_dr_gets_spoiled_rules(root: Path) -> None:
    for role in (Role.IR, Role.KG):
        spoiled = data.build(FILES, root, role, PROFILE, 1.0, 1)
        assert spoiled == data.build(FILES, root, role, PROFILE)


def test_the_prompt_in_training_is_the_prompt_at_run_time(root: Path) -> None:
    example = data.build(FILES, root, Role.DR, PROFILE).kept[0]
    asked = PROFILE.parts(
        Role.DR,
        "Ann has 3 red and 4 blue beads. How many beads has she?",
        ["Add the parts to get the whole."],
    )
    assert example.prompt == asked


def test_errata_are_left_out_by_kind(root: Path) -> None:
    (root / "errata.json").write_text('{"wrong": [0], "doubtful": [1]}')
    files = recipes.Data("train.jsonl", "rules.jsonl", errata="errata.json")
    left_out = data.build(files, root, Role.IR, PROFILE).left_out
    assert left_out["errata: wrong"] == 1
    assert left_out["errata: doubtful"] == 1


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.jsonl", "{", "{root}/train.jsonl:1: not JSON: "),
        ("train.jsonl", "[1]", "{root}/train.jsonl:1: expected an object with answer, question"),
        (
            "train.jsonl",
            '{"question": "q", "answer": "no marker"}',
            "{root}/train.jsonl:1: the answer has no '#### ' line",
        ),
        ("dev_ids.txt", "five", "{root}/dev_ids.txt: expected a line number, got 'five'"),
    ],
)
def test_faulty_data_is_named_by_file_and_line(
    root: Path, name: str, text: str, message: str
) -> None:
    (root / name).write_text(text)
    with pytest.raises(TrainError) as caught:
        data.build(FILES, root, Role.IR, PROFILE)
    assert caught.value.message.startswith(message.format(root=root))


def test_missing_data_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(TrainError) as caught:
        data.build(FILES, tmp_path, Role.IR, PROFILE)
    assert caught.value.message == f"{tmp_path / 'dev_ids.txt'}: No such file or directory"
    assert caught.value.hint == (
        "put it there, or give another folder with --data (see train/data/README.md)"
    )


def test_no_examples_at_all_says_why(root: Path) -> None:
    write_lines(root / "train.jsonl", ROWS[5:])  # type: ignore[arg-type]
    (root / "dev_ids.txt").write_text("0\n")
    with pytest.raises(TrainError) as caught:
        data.build(FILES, root, Role.IR, PROFILE)
    assert caught.value.message == "no examples for ir: {'dev_ids.txt': 1}"


def test_the_recipes_that_come_with_lorid_load() -> None:
    found = sorted(RECIPES.glob("*.toml"))
    if not found:
        pytest.skip("recipes are not part of the wheel")
    data_names = {path.stem for path in found if path.stem.startswith("data-")}
    for path in found:
        if path.stem in data_names:
            built = data_recipe.load(path)
            assert built.name == path.stem
            gsm8k = [p for p in built.problems if not p.source.startswith("written/")]
            assert gsm8k and all("gsm8k/dev_ids.txt" in p.leave_out for p in gsm8k)
            continue
        recipe = recipes.load(path)
        assert recipe.name == path.stem
        assert recipe.data.built in data_names or "gsm8k/dev_ids.txt" in recipe.data.leave_out


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ("rnk = 4", "unknown key 'lora.rnk' (did you mean rank?)"),
        ("rank = 0", "lora: rank and alpha must be positive, got 0 and 64"),
        ("rank = 'x'", "lora.rank: expected int, got 'x'"),
    ],
)
def test_a_faulty_recipe_is_refused(tmp_path: Path, change: str, fault: str) -> None:
    path = tmp_path / "r.toml"
    path.write_text(
        'name = "r"\nprompt = "terse-1"\n[base]\npath = "b.gguf"\n'
        f'[data]\nquestions = "q"\nknowledge = "k"\n[lora]\n{change}\n'
    )
    with pytest.raises(SettingsError) as caught:
        recipes.load(path)
    assert caught.value.message == f"{path}: {fault}"


@pytest.mark.parametrize(
    ("values", "fault"),
    [
        ({"learning_rate": 2.0}, "learning_rate must lie in (0, 1), got 2.0"),
        ({"imperfect_rules": 1.5}, "imperfect_rules is a share in [0, 1], got 1.5"),
        ({"warmup": 1.0}, "warmup is a share of the steps in [0, 1), got 1.0"),
        ({"epochs": 0}, "batch_tokens, max_length, epochs and checkpoint_steps must be positive"),
    ],
)
def test_a_run_refuses_senseless_values(values: dict[str, float], fault: str) -> None:
    with pytest.raises(ValueError) as caught:
        recipes.Run(**values)  # type: ignore[arg-type]
    assert str(caught.value) == fault


def test_a_recipe_is_a_toml_file(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        recipes.load(tmp_path / "recipe.yaml")
    assert caught.value.message == f"{tmp_path / 'recipe.yaml'}: a recipe is a .toml file"


def letters(text: str, special: bool) -> list[int]:
    """A scripted tokenizer: one id a letter, special parts above 1000."""
    return [ord(c) + (1000 if special else 0) for c in text]


def test_each_part_is_encoded_by_itself_and_only_the_target_carries_loss(root: Path) -> None:
    example = data.build(FILES, root, Role.IR, PROFILE).kept[0]
    encoded = masking.encode_example(example, letters, end_token=7)
    prompt = encoded.ids[: encoded.prompt_length]
    assert prompt[0] == ord("<") + 1000
    assert ord("A") in prompt
    target = encoded.ids[encoded.prompt_length :]
    assert target == (*map(ord, "<<3+4=7>>\n#### 7"), 7)


LENGTHS = [5 + (i * 7919) % 60 for i in range(200)]


def test_a_plan_holds_every_example_once_an_epoch_within_the_batch_size() -> None:
    batches = masking.plan(LENGTHS, batch_tokens=128, epochs=2, budget=0, seed=3)
    assert sorted(i for b in batches for i in b) == sorted([*range(200), *range(200)])
    for batch in batches:
        assert len(batch) * max(LENGTHS[i] for i in batch) <= 128


def test_a_plan_wastes_little_on_padding_and_depends_on_the_seed_alone() -> None:
    one, same, other = (
        masking.plan(LENGTHS, batch_tokens=128, epochs=1, budget=0, seed=s) for s in (3, 3, 4)
    )
    assert one == same != other
    padded = sum(len(b) * max(LENGTHS[i] for i in b) for b in one)
    assert padded < 1.1 * sum(LENGTHS)


def test_an_example_longer_than_a_batch_gets_a_batch_of_its_own() -> None:
    assert masking.plan([50, 300], batch_tokens=100, epochs=1, budget=0, seed=0) in (
        [[0], [1]],
        [[1], [0]],
    )


def test_a_budget_ends_the_plan() -> None:
    batches = masking.plan(LENGTHS, batch_tokens=128, epochs=9, budget=1000, seed=0)
    used = [sum(LENGTHS[i] for i in b) for b in batches]
    assert sum(used[:-1]) < 1000 <= sum(used)
