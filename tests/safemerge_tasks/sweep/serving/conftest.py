"""Tasks of every kind of request, on a random model of two layers."""

import json
from pathlib import Path

import pytest

from safemerge_tasks.sweep.serving.evaluation import Evaluation
from safemerge_tasks.sweep.serving.record import record
from safemerge_tasks.sweep.serving.recording import Recording

COMMON = """
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
num_fewshot: 0
metadata: {{version: 1.0}}
"""
GREEDY = """
task: water_greedy
output_type: generate_until
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: [], do_sample: false, temperature: 0.0, max_gen_toks: 8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
SAMPLED = """
task: water_sampled
output_type: generate_until
repeats: 3
doc_to_text: "{{question}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: [], do_sample: true, temperature: 2.0, max_gen_toks: 8}
metric_list: [{metric: exact_match, aggregation: mean, higher_is_better: true}]
"""
CHOICE = """
task: water_choice
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: ["warm", "cold", "baked"]
doc_to_target: 1
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""
ROLLING = """
task: water_rolling
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{question}}"
metric_list: [{metric: word_perplexity, aggregation: weighted_perplexity, higher_is_better: false}]
"""
TASKS = {"greedy": GREEDY, "sampled": SAMPLED, "choice": CHOICE, "rolling": ROLLING}
DOCUMENTS = [
    {"question": "Is the water warm?", "answer": "yes"},
    {"question": "Is the bread baked in the warm water?", "answer": "no"},
    {"question": "Is the water cold?", "answer": "no"},
]


@pytest.fixture(scope="session")
def water_tasks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of tasks on three documents."""
    folder = tmp_path_factory.mktemp("tasks")
    data = folder / "data.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in DOCUMENTS))
    for name, text in TASKS.items():
        (folder / f"water_{name}.yaml").write_text(text + COMMON.format(data=data))
    return folder


@pytest.fixture(scope="session")
def evaluation(tiny_model: Path, water_tasks: Path) -> Evaluation:
    """Return an evaluation with all tasks."""
    return Evaluation(
        tasks=tuple(f"water_{name}" for name in TASKS),
        base=str(tiny_model),
        include_path=str(water_tasks),
    )


@pytest.fixture(scope="session")
def recording(evaluation: Evaluation) -> Recording:
    """Return its requests."""
    return record(evaluation)


@pytest.fixture(scope="session")
def recording_file(recording: Recording, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return its requests in a file."""
    path = tmp_path_factory.mktemp("recording") / "requests.json"
    recording.save(path)
    return path
