"""The loop that people write: one vLLM engine, and lm-eval's `simple_evaluate` for each checkpoint.

    python benchmarks/engine_loop.py CHECKPOINT... --out DIR

Every checkpoint is loaded into the running engine. Verdicts are left to one `safemerge judge` over
the folder, so that the judge is loaded once as well. `benchmarks/sweep.py` measures it.
"""

import argparse
from pathlib import Path

from lm_eval import simple_evaluate
from lm_eval.loggers import EvaluationTracker
from lm_eval.models.vllm_causallms import VLLM
from lm_eval.tasks import TaskManager

from safemerge_tasks.toy.members import TASKS

METADATA = {"judge": "deferred"}


def main() -> None:
    """Evaluate the checkpoints one after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoints", nargs="+")
    parser.add_argument("--tasks", default="toy_asr,toy_task")
    parser.add_argument("--context", type=int, default=2048)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    model = VLLM(
        pretrained=arguments.checkpoints[0],
        dtype="float32",
        enforce_eager=True,
        max_model_len=arguments.context,
        distributed_executor_backend="uni",
        batch_size="auto",
    )
    tasks = TaskManager(include_path=str(TASKS), metadata=METADATA)
    for number, checkpoint in enumerate(arguments.checkpoints):
        if number:
            reload = {"weights_path": checkpoint}
            model.model.collective_rpc("reload_weights", kwargs=reload)
            model.model.reset_prefix_cache()
        # Under a file's name lm-eval puts its files right beside it.
        tracker = EvaluationTracker(
            output_path=str(arguments.out / Path(checkpoint).name / "results.json")
        )
        results = simple_evaluate(
            model=model,
            tasks=arguments.tasks.split(","),
            task_manager=tasks,
            apply_chat_template=True,
            log_samples=True,
            evaluation_tracker=tracker,
            metadata=METADATA,
        )
        samples = results.pop("samples")
        tracker.save_results_aggregated(results=results, samples=samples)
        for task in results["configs"]:
            tracker.save_results_samples(task_name=task, samples=samples[task])


if __name__ == "__main__":
    main()
