"""Tests of the original's command lines, flags and hyperparameters."""

import json
import shutil

import pytest
import tensorflow as tf

from electra_tf import config as configs
from electra_tf import files
from electra_tf.errors import UserError
from electra_tf.finetuning import settings as finetune_settings
from electra_tf.keras_api.settings import PretrainSettings
from electra_tf.original import (
    build_openwebtext_pretraining_dataset,
    build_pretraining_dataset,
    datasets,
    finetuning,
    flops_computation,
    hparams,
    pretraining,
    results,
    run_finetuning,
    run_pretraining,
)
from electra_tf.training.optimizer import WarmupPolynomialDecay

# All hyperparameters of the original's two configurations, with defaults.
PRETRAINING = {
    "debug": False, "do_train": True, "do_eval": False,
    "electra_objective": True, "electric_objective": False,
    "gen_weight": 1.0, "disc_weight": 50.0, "mask_prob": 0.15,
    "learning_rate": 5e-4, "lr_decay_power": 1.0, "weight_decay_rate": 0.01,
    "num_warmup_steps": 10000, "iterations_per_loop": 200,
    "save_checkpoints_steps": 1000, "num_train_steps": 1000000,
    "num_eval_steps": 100, "keep_checkpoint_max": 5, "model_size": "small",
    "model_hparam_overrides": {}, "embedding_size": None, "vocab_size": 30522,
    "do_lower_case": True, "two_tower_generator": False,
    "uniform_generator": False, "untied_generator_embeddings": False,
    "untied_generator": True, "generator_layers": 1.0,
    "generator_hidden_size": 0.25, "disallow_correct": False,
    "temperature": 1.0, "max_seq_length": 128, "train_batch_size": 128,
    "eval_batch_size": 128, "use_tpu": False, "num_tpu_cores": 1,
    "tpu_job_name": None, "tpu_name": None, "tpu_zone": None,
    "gcp_project": None, "pretrain_tfrecords": "d/pretrain_data.tfrecord*",
    "vocab_file": "v", "model_dir": "m", "results_txt": "r.txt",
    "results_pkl": None, "model_name": "n",
}  # fmt: skip
FINETUNING = {
    "debug": False, "log_examples": False, "num_trials": 1, "do_train": True,
    "do_eval": True, "keep_all_models": True, "model_size": "small",
    "task_names": ["chunk"], "model_hparam_overrides": {},
    "embedding_size": None, "vocab_size": 30522, "do_lower_case": True,
    "learning_rate": 1e-4, "weight_decay_rate": 0.01,
    "layerwise_lr_decay": 0.8, "num_train_epochs": 3.0,
    "warmup_proportion": 0.1, "save_checkpoints_steps": 1000000,
    "iterations_per_loop": 1000, "use_tfrecords_if_existing": True,
    "write_test_outputs": False, "n_writes_test": 5, "max_seq_length": 128,
    "train_batch_size": 32, "eval_batch_size": 32, "predict_batch_size": 32,
    "double_unordered": True, "max_query_length": 64, "doc_stride": 128,
    "n_best_size": 20, "max_answer_length": 30, "answerable_classifier": True,
    "answerable_uses_start_logits": True, "answerable_weight": 0.5,
    "joint_prediction": True, "beam_size": 20, "qa_na_threshold": -2.75,
    "use_tpu": False, "num_tpu_cores": 1, "tpu_job_name": None,
    "tpu_name": None, "tpu_zone": None, "gcp_project": None, "data_dir": "d",
    "raw_data_dir": None, "vocab_file": "v", "init_checkpoint": "c",
    "model_dir": "m", "results_txt": "r.txt", "results_pkl": None,
    "qa_eval_file": None, "qa_preds_file": None, "qa_na_file": None,
    "preprocessed_data_dir": "p", "test_predictions": "t",
}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "hyperparameters"),
    [(pretraining, PRETRAINING), (finetuning, FINETUNING)],
)
def test_every_hyperparameter_is_known(module, hyperparameters):
    module.plan("data", "name", hyperparameters)
    for name, default in module.KNOWN.defaults.items():
        theirs = hyperparameters.get(name, default)
        if isinstance(default, bool | int | float) and default is not None:
            assert default == theirs, name
    for name, why in module.KNOWN.unused.items():
        assert why in str(module.plan("d", "n", {name: 1}).notes)
    for name, (default, instead) in module.KNOWN.refused.items():
        other = "other" if default is None else not default
        with pytest.raises(UserError, match=name) as error:
            module.plan("d", "n", {name: other})
        assert instead in str(error.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"learning_rat": 1}, "did you mean 'learning_rate'"),
        ({"learning_rate": "1"}, "learning_rate: expected a number"),
        ({"train_batch_size": 1.5}, "expected a whole number"),
        ({"train_batch_size": True}, "expected a number"),
        ({"debug": 1}, "expected true or false"),
        ({"do_train": False}, "do_train, do_eval"),
        ({"do_eval": True}, "do_train, do_eval"),
        ({"model_size": "tiny"}, "small, base, large"),
        ({"model_hparam_overrides": {"hidden": 3}}, "hidden_size"),
        ({"model_hparam_overrides": {"hidden_act": "relu"}}, "gelu"),
        (
            {"model_hparam_overrides": {"hidden_size": "256"}},
            'hidden_size: expected a whole number, got "256"',
        ),
        ({"pretrain_tfrecords": 3}, "wildcards"),
        ({"embedding_size": "128"}, "embedding_size: expected a whole number"),
        ({"vocab_size": 1.5}, "vocab_size: expected a whole number"),
        ({"results_txt": 5}, "results_txt: expected a text, got 5"),
        ({"model_dir": ["m"]}, "model_dir: expected a text"),
    ],
)
def test_mistakes_in_pretraining(given, message):
    with pytest.raises(UserError, match=message):
        pretraining.plan("d", "n", given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"task_names": ["rt"]}, "no task 'rt'"),
        ({"task_names": []}, "task_names"),
        ({"num_trials": -1}, "num_trials"),
        ({"model_size": "tiny"}, "small, base, large"),
        ({"tasks": {"mine": {}}}, "FILE.py:CLASS"),
        ({"init_checkpoint": 3}, "init_checkpoint: expected a text"),
        (
            {"task_names": ["rte", "mrpc"], "write_test_outputs": True},
            "write_test_outputs: for one task at a time",
        ),
    ],
)
def test_mistakes_in_finetuning(given, message):
    with pytest.raises(UserError, match=message):
        finetuning.plan("d", "n", given)


def test_hparams_are_a_dict_or_a_file(tmp_path):
    assert hparams.read('{"a": 1}') == {"a": 1}
    file = tmp_path / "h.json"
    file.write_text('{"a": 2}')
    assert hparams.read(str(file)) == {"a": 2}
    with pytest.raises(UserError, match="JSON dict"):
        hparams.read("[1]")
    with pytest.raises(UserError, match="--hparams"):
        hparams.read("{'a': 1}")


def _resolved(given):
    plan = pretraining.plan("d", "n", given)
    return configs.resolve(PretrainSettings, plan.settings)


def test_the_default_is_electra_small():
    ours, theirs = PretrainSettings.of_size("small"), _resolved({})
    assert theirs.model == ours.model
    assert theirs.generator == ours.generator
    assert theirs.masking == ours.masking
    assert theirs.objective == ours.objective
    for name in ("learning_rate", "num_warmup_steps", "batch_size",
                 "num_train_steps", "weight_decay_rate"):  # fmt: skip
        assert getattr(theirs.train, name) == getattr(ours.train, name)


@pytest.mark.parametrize("size", ["base", "large"])
def test_sizes(size):
    found = _resolved({"model_size": size}).model
    assert found == PretrainSettings.of_size(size).model


def test_the_recorded_run(shared_dir):
    file = shared_dir / "golden" / "cli_run" / "hp.json"
    found = _resolved(hparams.read(str(file)))
    model, train = found.model, found.train
    assert (model.hidden_size, model.num_layers, model.num_heads) == (64, 2, 4)
    assert (model.embedding_size, model.intermediate_size) == (32, 256)
    assert (train.num_train_steps, train.checkpoint_every_steps) == (6, 1)
    assert train.keep_checkpoints == 20
    assert found.generator.hidden_fraction == 0.5


@pytest.mark.parametrize(
    ("given", "objective", "kind", "embeddings"),
    [
        ({}, "electra", "separate", "shared"),
        ({"electra_objective": False}, "mlm", "separate", "shared"),
        ({"electric_objective": True, "two_tower_generator": True},
         "electric", "two_tower", "shared"),
        # As its README trains Electric.
        ({"electra_objective": False, "electric_objective": True},
         "electric", "two_tower", "shared"),
        ({"electric_objective": True}, "electric", "two_tower", "shared"),
        ({"uniform_generator": True}, "electra", "uniform", "shared"),
        ({"untied_generator": False}, "electra", "tied", "shared"),
        ({"untied_generator_embeddings": True}, "electra", "separate",
         "untied"),
    ],
)  # fmt: skip
def test_objectives_and_generators(given, objective, kind, embeddings):
    found = _resolved(given)
    assert found.objective.kind == objective
    assert (found.generator.kind, found.generator.embeddings) == (
        kind, embeddings,
    )  # fmt: skip


def test_debug_is_small_and_given_settings_override_it():
    found = _resolved({"debug": True})
    assert found.model.hidden_size == 144 and found.model.num_layers == 3
    assert found.train.batch_size == 8 and found.train.num_train_steps == 20
    found = _resolved({"debug": True, "num_train_steps": 7})
    assert found.train.num_train_steps == 7


def test_folders():
    plan = pretraining.plan("D", "N", {})
    assert plan.data == "D/pretrain_tfrecords/pretrain_data.tfrecord*"
    assert (plan.vocab, plan.output) == ("D/vocab.txt", "D/models/N")
    assert plan.results == "D/models/N/results/unsup_results.txt"
    plan = finetuning.plan("D", "N", {"task_names": ["rte"]})
    assert plan.data == "D/finetuning_data/rte"
    assert plan.start == "D/models/N"
    assert plan.output == "D/models/N/finetuning_models/rte_model"
    assert plan.results == "D/models/N/results/rte_results.txt"


def test_a_directory_of_ours_is_found_by_the_originals_pattern(tmp_path):
    folder = tmp_path / "pretrain_tfrecords"
    folder.mkdir()
    about = {"max_seq_length": 64, "splits": {"validation": {"examples": 3}}}
    (folder / "manifest.json").write_text(json.dumps(about))
    for given in ({}, {"pretrain_tfrecords": f"{folder}/pretrain_data*"}):
        plan = pretraining.plan(str(tmp_path), "n", given)
        assert plan.data == str(folder) and plan.held_out
        assert plan.vocab is None
    with pytest.raises(UserError, match="max_seq_length: 128"):
        pretraining.plan(str(tmp_path), "n", {"max_seq_length": 128})


@pytest.mark.parametrize("power", [1.0, 2.0])
def test_a_continued_schedule_is_the_tail_of_the_whole(power):
    given = {"num_train_steps": 1000, "num_warmup_steps": 100,
             "learning_rate": 1e-3, "lr_decay_power": power}  # fmt: skip
    whole = pretraining.plan("d", "n", given).settings
    rest = pretraining.continued(whole, 600)

    def schedule(sections):
        train = dict(sections["train"])
        names = ("learning_rate", "num_warmup_steps", "num_train_steps")
        shape = {name: train[name] for name in names}
        return WarmupPolynomialDecay(**shape, power=train["lr_decay_power"])

    before, after = schedule(whole), schedule(rest)
    assert rest["train"]["num_train_steps"] == 400
    for step in (0, 1, 250, 399):
        assert float(after(step)) == pytest.approx(
            float(before(600 + step)), abs=1e-9
        )
    with pytest.raises(UserError, match="step 1000 already"):
        pretraining.continued(whole, 1000)


@pytest.mark.parametrize(
    ("task", "ours", "epochs", "length"),
    [
        ("mnli", "glue/mnli", 3, 128), ("rte", "glue/rte", 10, 128),
        ("sts", "glue/stsb", 10, 128), ("sst", "glue/sst2", 3, 128),
        ("squad", "squad/v2.0", 2, 512), ("squadv1", "squad/v1.1", 2, 512),
        ("triviaqa", "mrqa", 2, 512), ("chunk", "tagging/conll2000", 3, 256),
    ],
)  # fmt: skip
def test_tasks(task, ours, epochs, length):
    plan = finetuning.plan("d", "n", {"task_names": [task]})
    assert plan.task == ours
    assert plan.train["num_train_epochs"] == epochs
    assert plan.options["max_seq_length"] == length
    made = finetune_settings.load(
        {"task": plan.task}, options=plan.options, train=plan.train
    )
    assert made.train.learning_rate == 1e-4
    assert made.train.weight_decay_rate == 0.01
    assert made.train.eval_every == 0 and not made.train.select_best
    given = {"task_names": [task], "num_train_epochs": 1, "max_seq_length": 99}
    plan = finetuning.plan("d", "n", given)
    assert plan.train["num_train_epochs"] == 1
    assert plan.options["max_seq_length"] == 99


def test_large_models_learn_slower():
    plan = finetuning.plan("d", "n", {"model_size": "large"})
    assert plan.train["learning_rate"] == 5e-5
    assert plan.train["layerwise_lr_decay"] == 0.9
    plan = finetuning.plan("d", "n", {"layerwise_lr_decay": 0})
    assert plan.train["layerwise_lr_decay"] == 1.0


def test_question_answering_options():
    given = {"task_names": ["squad"], "joint_prediction": False,
             "answerable_classifier": False, "beam_size": 5}  # fmt: skip
    found = finetuning.plan("d", "n", given).options
    assert found["head"] == "independent" and found["beam_size"] == 5
    assert found["answerability"] == "first_token"
    assert found["null_threshold"] == -2.75
    given = {"task_names": ["squadv1"]}
    assert "null_threshold" not in finetuning.plan("d", "n", given).options


def test_several_tasks_are_learned_together():
    plan = finetuning.plan("d", "n", {"task_names": ["mrpc", "chunk"]})
    assert plan.task == "multitask" and plan.data is None
    made = finetune_settings.load({"task": plan.task}, options=plan.options)
    assert [t.key for t in made.options.tasks] == ["mrpc", "chunk"]
    assert made.options.tasks[0].data == "d/finetuning_data/mrpc"


def test_files_are_found_under_the_originals_names(tmp_path):
    # The original's README puts MRQA's files here.
    folder = tmp_path / "newsqa"
    folder.mkdir()
    for split in ("train", "dev"):
        (folder / f"{split}.jsonl").write_text("")
    plan = finetuning.plan(str(tmp_path), "n", {"task_names": ["newsqa"]})
    assert plan.data == str(folder)
    assert plan.options["train_file"] == "train.jsonl"
    assert plan.options["validation_file"] == "dev.jsonl"
    assert "test_file" not in plan.options


def test_a_trial_is_found_under_the_originals_name(tmp_path):
    model = tmp_path / "mnli_model" / "trial_2" / "model"
    model.mkdir(parents=True)
    given = {"init_checkpoint": str(tmp_path / "mnli_model_2")}
    assert finetuning.plan("d", "n", given).start == str(model)


@pytest.fixture
def built(monkeypatch):
    calls = []

    def build_data(**arguments):
        calls.append(arguments)
        return "built"

    monkeypatch.setattr(datasets, "build_data", build_data)
    return calls


def test_flags_of_build_pretraining_dataset(built, tmp_path, capsys):
    words = ["--corpus-dir", str(tmp_path), "--vocab-file", "v",
             "--output-dir", "o"]  # fmt: skip
    assert build_pretraining_dataset.main(words) == 0
    assert built[0]["input"] == f"{tmp_path}/*"
    assert built[0]["max_seq_length"] == 128 and built[0]["num_workers"] == 1
    assert built[0]["lower_case"] and built[0]["strip_accents"]
    assert built[0]["blank_lines_separate_documents"]
    words += ["--max-seq-length", "64", "--num-processes", "3",
              "--blanks-separate-docs", "False", "--no-lower-case",
              "--no-strip-accents"]  # fmt: skip
    assert build_pretraining_dataset.main(words) == 0
    assert built[1]["max_seq_length"] == 64 and built[1]["num_workers"] == 3
    assert not built[1]["lower_case"] and not built[1]["strip_accents"]
    assert not built[1]["blank_lines_separate_documents"]
    assert build_pretraining_dataset.main([*words, "--num-processes=0"]) == 2
    assert "--num-processes 0: expected at" in capsys.readouterr().err
    words[1] = str(tmp_path / "absent")
    assert build_pretraining_dataset.main(words) == 2
    assert "--corpus-dir" in capsys.readouterr().err


def test_folders_named_like_globs(built, tmp_path):
    import tarfile

    data = tmp_path / "a, b [1]"
    (data / "openwebtext").mkdir(parents=True)
    (data / "1.txt").write_text("one")
    words = ["--vocab-file", "v", "--output-dir", "o"]
    words += ["--corpus-dir", str(data / "openwebtext")]
    shutil.copy(data / "1.txt", data / "openwebtext" / "2.txt")
    assert build_pretraining_dataset.main(words) == 0
    assert built[0]["input"] == [str(data / "openwebtext" / "2.txt")]
    found = files.expand(",".join(built[0]["input"]))
    assert found == built[0]["input"]
    (data / "openwebtext" / "2.txt").unlink()
    with tarfile.open(data / "openwebtext" / "a.xz", "w:xz") as archive:
        archive.add(data / "1.txt", "1.txt")
    main = build_openwebtext_pretraining_dataset.main
    assert main(["--data-dir", str(data)]) == 0
    (path,) = built[1]["input"]
    assert path.startswith(str(data)) and path.endswith("/00000/1.txt")


def test_openwebtext_archives_are_unpacked(built, tmp_path, monkeypatch):
    import tarfile

    corpus = tmp_path / "openwebtext"
    corpus.mkdir()
    text = tmp_path / "1.txt"
    text.write_text("one")
    seen = []
    with tarfile.open(corpus / "a.xz", "w:xz") as archive:
        archive.add(text, "1.txt")
    monkeypatch.setattr(
        datasets, "build_data",
        lambda **a: seen.append((a, [
            p.read_text() for p in tmp_path.glob(
                a["input"].removeprefix(f"{tmp_path}/"))])),
    )  # fmt: skip
    main = build_openwebtext_pretraining_dataset.main
    assert main(["--data-dir", str(tmp_path)]) == 0
    arguments, texts = seen[0]
    assert texts == ["one"]
    assert arguments["vocab"] == f"{tmp_path}/vocab.txt"
    assert arguments["output"] == f"{tmp_path}/pretrain_tfrecords"
    assert not arguments["blank_lines_separate_documents"]
    # Text files are read in place; a mixture with archives is an error.
    shutil.copy(text, corpus / "2.txt")
    assert main(["--data-dir", str(tmp_path)]) == 2
    (corpus / "a.xz").unlink()
    assert main(["--data-dir", str(tmp_path)]) == 0
    assert seen[1][0]["input"] == f"{corpus}/*"


def test_a_damaged_archive_is_named(built, tmp_path, capsys):
    import tarfile

    corpus = tmp_path / "openwebtext"
    corpus.mkdir()
    (tmp_path / "1.txt").write_text("one two three " * 5000)
    for kind in ("xz", "gz"):
        path = corpus / f"a.{kind}"
        with tarfile.open(path, f"w:{kind}") as archive:
            archive.add(tmp_path / "1.txt", "1.txt")
        path.write_bytes(path.read_bytes()[:-60])
        main = build_openwebtext_pretraining_dataset.main
        assert main(["--data-dir", str(tmp_path)]) == 2
        line = capsys.readouterr().err
        assert f"{path}: is a damaged archive" in line
        assert line.count("\n") == 1 and not built
        path.unlink()
    assert {p.name for p in tmp_path.iterdir()} == {"openwebtext", "1.txt"}


def test_what_is_said_after_an_interruption(built, capsys, monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    flags = ["run", "--hparams", '{"debug": true}']
    assert hparams.run("run", interrupted, flags) == 130
    assert """run --hparams '{"debug": true}' resumes""" in (
        capsys.readouterr().err
    )


# Output of the original's script. It counts one layer normalisation as if it
# had a single value; hence the difference of a twentieth of a percent.
FLOPS = {
    "gpt": 3.968752230785352e19, "bert_small": 1.4187399146496e18,
    "bert_base": 6.428335104e19, "bert_large": 1.91720905883648e20,
    "electra_small": 1.293743798272e18, "electra_base": 6.424541834277683e19,
    "electra_400k": 7.117606040895488e20,
    "electra_1.75M": 3.113952642891776e21, "roberta": 3.187221435776e21,
    "albert": 3.113923955392512e22,
}  # fmt: skip


@pytest.mark.parametrize(
    ("module", "flags", "message"),
    [
        (run_pretraining, ["--model-name", "m"], "required: --data-dir"),
        (run_finetuning, ["--data-dri", "d"], "required: --data-dir"),
        (
            build_pretraining_dataset,
            [
                "--corpus-dir", "a", "--vocab-file", "b", "--output-dir", "c",
                "--blanks-separate-docs", "maybe",
            ],
            "expected True or False, got 'maybe'",
        ),
        (flops_computation, ["--size"], "--size"),
    ],
)  # fmt: skip
def test_mistakes_in_flags_are_one_line(capsys, module, flags, message):
    with pytest.raises(SystemExit) as ended:
        module.main(flags)
    assert ended.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed and printed.count("\n") == 1


def test_flops(capsys):
    assert flops_computation.main([]) == 0
    lines = capsys.readouterr().out.split("\n")
    found = dict(line.split() for line in lines if line)
    assert found.keys() == FLOPS.keys()
    for name, value in found.items():
        assert float(value) == pytest.approx(FLOPS[name], rel=1e-3), name


def test_results_are_in_the_originals_form(tmp_path):
    path = tmp_path / "results" / "rte_results.txt"
    trials = [{"rte": {"accuracy": 66.425, "loss": 0.61}}]
    results.write_finetuning(str(path), trials * 2)
    line = "rte: accuracy: 66.42 - loss: 0.61\n"
    assert path.read_text() == line * 2
    content = json.loads(path.with_suffix(".json").read_text())
    assert content == trials * 2


@pytest.mark.parametrize("task", ["mrpc", "squad"])
def test_the_recorded_metrics(shared_dir, tmp_path, task):
    """A fine-tuned checkpoint of the original gets its recorded scores."""
    golden = shared_dir / "golden" / "finetune"
    recorded = json.loads((golden / task / "finetune.json").read_text())
    shutil.copytree(
        golden / "data_dir" / "finetuning_data" / task,
        tmp_path / "finetuning_data" / task,
        copy_function=shutil.copyfile,
    )
    folder = tmp_path / "finetuning_data" / task
    folder.chmod(0o755)
    (dev,) = folder.glob("dev.*")
    shutil.copyfile(dev, dev.with_stem("test"))
    given = recorded["kwargs"] | {
        "do_train": False,
        "do_test": True,
        "init_checkpoint": str(golden / task / "step0.ckpt"),
        "vocab_file": str(golden / "data_dir" / "vocab.txt"),
    }
    (tmp_path / "h.json").write_text(json.dumps(given))
    words = ["--data-dir", str(tmp_path), "--model-name", "ft",
             "--hparams", str(tmp_path / "h.json")]  # fmt: skip
    assert run_finetuning.main(words) == 0
    model = tmp_path / "models" / "ft"
    file = model / "results" / f"{task}_results.json"
    (found,) = json.loads(file.read_text())
    for name, value in recorded["dev_metrics"].items():
        assert found[task][name] == pytest.approx(value, abs=1.3e-5), name
    tested = model / "test_predictions" / f"{task}_1" / "test"
    name = "MRPC.tsv" if task == "mrpc" else "predictions.json"
    assert (tested / name).exists()


def test_a_failed_start_is_forgotten(tmp_path):
    """Only the config.json of a start that failed is removed.

    Otherwise it would be taken for the settings of the checkpoint beside it.
    """
    config = tmp_path / "config.json"
    config.write_text('{"train": {}, "masking": {}, "objective": {}}')
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "step_1").mkdir()
    run_pretraining._forget_start(str(tmp_path))
    assert config.exists()
    (tmp_path / "checkpoints" / "step_1").rmdir()
    run_pretraining._forget_start(str(tmp_path))
    assert not config.exists()
    config.write_text('{"hidden_size": 64}')  # of the original's checkpoint
    run_pretraining._forget_start(str(tmp_path))
    assert config.exists()


@pytest.mark.slow
@pytest.mark.parametrize("slots", [True, False])
def test_the_originals_run_continues(shared_dir, tmp_path, slots):
    """The original's command with more steps resumes its checkpoint."""
    golden = shared_dir / "golden"
    run = golden / "cli_run"
    model = tmp_path / "models" / "t"
    model.mkdir(parents=True)
    (tmp_path / "pretrain_tfrecords").mkdir()
    shutil.copy(golden / "vocab_4k.txt", tmp_path / "vocab.txt")
    for file in run.glob("pretrain_data*"):
        shutil.copyfile(file, tmp_path / "pretrain_tfrecords" / file.name)
    reader = tf.train.load_checkpoint(str(run / "model.ckpt-6"))
    names = [
        name
        for name in reader.get_variable_to_shape_map()
        if slots or not name.endswith(("/adam_m", "/adam_v"))
    ]
    tf.raw_ops.SaveV2(
        prefix=str(model / "model.ckpt-6"), tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(reader.get_tensor(name)) for name in names],
    )  # fmt: skip
    given = json.loads((run / "hp.json").read_text()) | {"num_train_steps": 9}
    words = ["--data-dir", str(tmp_path), "--model-name", "t",
             "--hparams", json.dumps(given)]  # fmt: skip
    for _ in range(2):  # the second run finds it finished
        assert run_pretraining.main(words) == 0
    records = [json.loads(line) for line in open(model / "metrics.jsonl")]
    steps = [r["step"] for r in records if r["split"] == "train"]
    assert steps[-1] == (9 if slots else 3)
    evaluated = json.dumps(given | {"do_train": False, "do_eval": True})
    assert run_pretraining.main([*words[:-1], evaluated]) == 0
    found = (model / "results" / "unsup_results.txt").read_text()
    assert "masked_lm_accuracy = " in found
