"""A recorder that trusts its caller again: kind 9 of issue 19."""

from tests.mutations.bug import fault

GIVEN, ANSWERS = "tests/training/test_given.py", "tests/integrations/test_answers.py"

LOOPS = [
    fault(
        "loops: rows that drop_last leaves out are not told",
        "training/recorder.py",
        "        if not self.epochs and not self._partial:",
        "        if False:",
        f"{GIVEN}::test_the_first_epoch_warns_of_rows_that_drop_last_leaves_out",
    ),
    fault(
        "loops: labels may change every epoch",
        "training/buffers.py",
        "        other = inside & (before >= 0) & (before != labels)",
        "        other = inside & (before >= 0) & (before == labels + self.rows.shape[1])",
        f"{GIVEN}::test_ids_that_are_positions_in_a_batch_are_noticed_by_their_labels",
        f"{GIVEN}::test_a_label_that_changes_within_an_epoch_is_noticed",
    ),
    fault(
        "loops: the last label wins",
        "training/buffers.py",
        "        self.labels[at] = torch.where(fresh & (before < 0), labels, before)",
        "        self.labels[at] = torch.where(fresh, labels, before)",
        f"{GIVEN}::test_ids_that_are_positions_in_a_batch_are_noticed_by_their_labels",
    ),
    fault(
        "loops: an id may come twice in a batch",
        "training/given.py",
        "    if once and int(repeats := repeated(values).sum()):",
        "    if False:",
        f"{GIVEN}::TestIds::test_what_is_no_row_number_is_refused_alike",
    ),
    fault(
        "loops: an id may come twice in a batch on an accelerator",
        "training/buffers.py",
        "            self.counts[4] += repeated(ids).sum()",
        "            self.counts[4] += 0",
        f"{GIVEN}::test_what_an_accelerator_gave_is_looked_at_when_the_epoch_ends",
    ),
    fault(
        "loops: ids may be bools",
        "training/given.py",
        "    if values.dtype == torch.bool or values.is_floating_point()",
        "    if values.is_floating_point()",
        f"{GIVEN}::TestIds::test_what_is_no_row_number_is_refused_alike",
    ),
    fault(
        "loops: labels may be fractions",
        "training/given.py",
        "    if values.dtype == torch.bool or values.is_floating_point()",
        "    if values.dtype == torch.bool",
        f"{GIVEN}::test_labels_that_are_no_class_numbers_are_refused",
    ),
    fault(
        "loops: data= is ignored unless it is text",
        "training/marked.py",
        "    if data is None or isinstance(data, str):\n        return data",
        "    if not isinstance(data, str):\n        return None",
        f"{GIVEN}::test_data_has_the_fingerprint_that_prune_finds",
        f"{GIVEN}::test_data_that_nobody_can_read_is_refused",
    ),
    fault(
        "loops: data= may be of another length",
        "training/marked.py",
        "    if (rows := len(source.train)) != examples:",
        "    if (rows := 0):",
        f"{GIVEN}::test_data_of_another_length_is_refused",
    ),
    fault(
        "loops: under torchrun every rank selects by itself",
        "training/ranks.py",
        "    if ranks() == 1:\n        joined",
        "    if True:\n        joined",
        "tests/slow/test_ranks.py::test_every_rank_selects_and_gets_the_same",
    ),
    fault(
        "loops: the recorder looks where smoothed labels are not",
        "integrations/answers.py",
        "        if args.label_smoothing_factor and not self.pruning:",
        "        if False:",
        f"{ANSWERS}::TestRefused::test_smoothed_labels_do_not_reach_the_recorder",
    ),
    fault(
        "loops: a PruningTrainer does not smooth",
        "integrations/transformers.py",
        "            if smooth := self.args.label_smoothing_factor:",
        "            if smooth := 0:",
        f"{ANSWERS}::test_pruning_smooths_labels_as_the_trainer_does_and_hears_plain_losses",
    ),
    fault(
        "loops: a PruningTrainer ignores compute_loss_func",
        "integrations/transformers.py",
        "        if self.compute_loss_func is not None:",
        "        if False:",
        f"{ANSWERS}::TestRefused::test_a_loss_of_the_whole_batch",
    ),
    fault(
        "loops: answers in a tuple are tracebacks",
        "integrations/answers.py",
        "outputs if isinstance(outputs, (tuple, list)) else [outputs]",
        "[outputs]",
        f"{ANSWERS}::test_a_model_that_answers_in_a_tuple_is_recorded",
    ),
    fault(
        "loops: an answer a token is taken for one a row",
        "integrations/answers.py",
        "    if logits.ndim != 2:",
        "    if False:",
        f"{ANSWERS}::TestRefused::test_an_answer_a_token",
    ),
    fault(
        "loops: a run that goes on in the middle of an epoch lost half of it",
        "integrations/answers.py",
        "    if path.exists():\n        held",
        "    if False:\n        held",
        f"{ANSWERS}::test_a_recording_goes_on_from_any_checkpoint",
    ),
    fault(
        "loops: a run that goes on asks for an epoch that nobody recorded",
        "integrations/answers.py",
        "    if abs(epoch - round(epoch)) > 1e-6:",
        "    if False:",
        f"{ANSWERS}::test_a_checkpoint_in_the_middle_of_an_epoch_without_the_recorder_s_state",
    ),
]
