"""Numbers without ranges, read twice, by chance, or of small classes, again: kinds 7, 8, 10 and 11 of issue 19."""

from tests.mutations.bug import fault

RANGES, ENTRIES, STARVED = "tests/test_ranges.py", "tests/data/test_entry_points.py", "tests/study/test_starved.py"
MESSAGE = f"{RANGES}::test_the_message_names_the_knob_the_range_and_what_came"

RANGED = [
    fault(
        "ranges: nan and inf are in all of them",
        "ranges.py",
        "        if not abs(number) <= _MOST:  # also refuses nan\n            return False",
        "        if not abs(number) <= _MOST:\n            return True",
        MESSAGE,
        f"{RANGES}::test_a_knob_is_refused_in_one_line_or_within_its_range",
    ),
    fault(
        "ranges: a batch of 1.5 is whole",
        "ranges.py",
        "        if self.whole and number != int(number):",
        "        if False:",
        MESSAGE,
    ),
    fault(
        "ranges: a crop of -1 is one",
        "ranges.py",
        "        if value not in self:\n            raise SecateurError(",
        "        if value != value:\n            raise SecateurError(",
        MESSAGE,
    ),
    fault(
        "ranges: of a knob given twice the last wins",
        "ranges.py",
        "        if name in found:",
        "        if False:",
        f"{RANGES}::test_a_knob_given_twice_is_refused",
        MESSAGE,
    ),
    fault(
        "ranges: callers in Python meet none",
        "ranges.py",
        "        check_given(known, given)\n        return function(*args, **kwargs)\n\n    return checked",
        "        return function(*args, **kwargs)\n\n    return checked",
        f"{RANGES}::test_python_callers_meet_the_same_ranges",
    ),
    fault(
        "ranges: scores and selectors meet none",
        "registry.py",
        "            check_given(ranges, bound.arguments)\n",
        "",
        f"{RANGES}::test_scores_and_selectors_called_from_python_meet_them_too",
    ),
    fault(
        "ranges: True is a number",
        "ranges.py",
        "        if isinstance(value, bool) and self != FLAG:",
        "        if False:",
        f"{RANGES}::test_a_range_holds_what_it_says",
        f"{RANGES}::test_python_callers_meet_the_same_ranges",
    ),
    fault(
        "ranges: --at-least has none",
        "study/mine.py",
        "    at_least: Annotated[float | None, SHARE] = None,",
        "    at_least: float | None = None,",
        f"{RANGES}::test_every_number_of_a_function_has_a_range",
    ),
    fault(
        "ranges: mlp:1e9 is made room for",
        "training/nets/zoo.py",
        "    if (weights := sum(weight.numel() for weight in net.parameters())) > MOST_WEIGHTS:",
        "    if (weights := 0):",
        "tests/training/test_saved_names.py::test_a_net_of_more_weights_than_any_machine_trains_is_refused_before_memory_is_taken",
    ),
    fault(
        "ranges: scale instructions learn at a rate of nan",
        "scale/learned.py",
        '        ABOVE_0.check(self.lr, "lr")',
        '        str("lr")',
        "tests/scale/test_instructions.py::test_options_are_checked_when_they_are_made",
    ),
]

TWICE = [
    fault(
        "paths: keep=0.5 of 5 rows is 2 in scale",
        "scale/quotas.py",
        "    count = part_of(keep, rows) if isinstance(keep, float) else keep",
        "    count = int(keep * rows) if isinstance(keep, float) else keep",
        "tests/scale/test_lease.py::test_a_fraction_of_rows_is_rounded_as_everywhere",
    ),
    fault(
        "paths: a report takes no lists",
        "dynamic/sampler.py",
        '        loss = _floats("loss", loss)',
        "        loss.dtype",
        "tests/training/test_given.py::test_a_report_takes_lists_throughout",
    ),
    fault(
        "paths: a table for torch is read as torch gives it",
        "data/columns.py",
        "        table = table.with_format(None)",
        "        str(None)",
        f"{ENTRIES}::test_labels_have_the_same_classes_whichever_way_they_come_in",
        f"{ENTRIES}::TestTables::test_images_are_read_whatever_the_format_and_have_one_fingerprint",
    ),
    fault(
        "paths: floats as ToTensor makes them are cut, not rounded",
        "data/decoding/pixels.py",
        "            pixels = scaled.round()",
        "            pixels = np.floor(scaled)",
        f"{ENTRIES}::test_pixels_of_every_type_are_the_same",
    ),
    fault(
        "paths: an image of Pillow is read without the rules of its file",
        "data/decoding/pixels.py",
        "        return pixels_of(item)",
        "        return np.atleast_3d(np.asarray(item))",
        f"{ENTRIES}::test_an_image_of_pillow_is_read_as_its_file_would_be",
        f"{ENTRIES}::test_grey_images_and_masks",
    ),
    fault(
        "paths: a Dataset's targets win over its items",
        "data/python.py",
        "            if said != given:",
        "            if False:",
        f"{ENTRIES}::TestTorchDatasets::test_targets_that_disagree_with_the_items_stop",
    ),
    fault(
        "paths: labels of regression are classes",
        "data/decoding/labels.py",
        "        if not -_EXACT <= value <= _EXACT or int(value) != value:",
        "        if False:",
        f"{ENTRIES}::test_numbers_that_are_no_classes_are_refused_with_their_row",
    ),
]

CHANCE = [
    fault(
        "chance: k-means starts once, from random rows",
        "geometry.py",
        "    mill.train(rows, init_centroids=_plus_plus(rows, clusters, seed))",
        "    mill.cp.seed = seed // _STARTS\n    mill.train(rows)",
        "tests/test_distances.py::test_k_means_of_clear_blobs_is_the_same_for_every_seed",
    ),
    fault(
        "chance: --repeat-recording repeats nothing",
        "study/repeats.py",
        "        if repeat:\n            yield",
        "        if False:\n            yield",
        "tests/study/test_compare.py::test_a_recording_may_be_repeated_for_every_seed",
    ),
]

CLASSES = [
    fault(
        "classes: of those with a single example one is named",
        "data/rare.py",
        '    names = ", ".join(repr(classes[k]) for k in rare[:_NAMED])',
        '    names = ", ".join(repr(classes[k]) for k in rare[:1])',
        "tests/data/test_source.py::TestBadInput::test_every_class_with_one_example_is_named",
    ),
    fault(
        "classes: --on-rare keep stops",
        "data/rare.py",
        '    if on_rare == "keep":',
        "    if False:",
        "tests/data/test_rare.py::test_rare_classes_are_kept_where_that_is_asked_for",
    ),
    fault(
        "classes: --on-rare drop leaves them in test",
        "data/rare.py",
        "    rare = np.flatnonzero(counts == 1) if dropped is None else np.asarray(dropped, dtype=np.int64)",
        "    rare = np.flatnonzero(counts == 1) if dropped is None else np.empty(0, dtype=np.int64)",
        "tests/data/test_rare.py::test_test_rows_of_a_dropped_class_are_dropped_too",
    ),
    fault(
        "classes: there is no floor by default",
        "select/limits.py",
        "        return replace(self, min_per_class=int(fair and room))",
        "        return replace(self, min_per_class=0)",
        f"{STARVED}::test_every_class_keeps_a_row_by_default_where_there_is_room",
    ),
    fault(
        "classes: there is a floor where it does not fit",
        "select/limits.py",
        "        return replace(self, min_per_class=int(fair and room))",
        "        return replace(self, min_per_class=1)",
        f"{STARVED}::test_there_is_no_floor_by_default_where_it_does_not_fit_or_the_method_ranks_over_all",
    ),
    fault(
        "classes: what is on already is recommended",
        "study/starved.py",
        '    if not method.by_class and method.name != "drop":  # which chooses class by class, by recall',
        "    if True:",
        f"{STARVED}::test_what_is_on_already_is_not_recommended",
    ),
    fault(
        "classes: a floor that does not fit is recommended",
        "study/starved.py",
        "if np.minimum(n, before).sum() <= keep), default=None)",
        "), default=None)",
        f"{STARVED}::test_a_floor_that_does_not_fit_is_not_recommended",
    ),
]
