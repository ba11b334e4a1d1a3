"""Names and text from files, trusted again: kinds 1 and 2 of issue 19."""

from tests.mutations.bug import fault

SAVED, KEPT = "tests/training/test_saved_names.py", "tests/data/test_kept.py"

NAMES = [
    fault(
        "names: a model file has any code run",
        "training/nets/metadata.py",
        "    for own in named:\n",
        "    return spec\n    for own in named:\n",
        f"{SAVED}::test_a_model_file_never_runs_its_author_s_code[mine --model]",
        f"{SAVED}::test_an_out_folder_that_was_sent_runs_nothing_when_it_is_gone_on_with_or_reported",
        f"{SAVED}::test_an_embedder_that_is_a_file_holds_one_of_our_nets_or_a_named_one",
        f"{SAVED}::test_only_names_of_our_nets_are_taken_from_a_file",
    ),
    fault(
        "names: --start takes the net that the file names",
        "training/nets/saved.py",
        "    return _read(path, (asked, *named), OPTION)[2]",
        "    return told",
        f"{SAVED}::test_a_net_to_start_from_is_ours_or_named",
    ),
    fault(
        "names: the shape in a model file may be anything",
        "training/nets/metadata.py",
        "    shape: Annotated[list[Annotated[int, Field(ge=1, le=MOST_VALUES)]], Field(min_length=1, max_length=4)]",
        "    shape: list[int | str | float]",
        f"{SAVED}::test_a_model_file_whose_shape_is_a_command_is_damaged[mine --model]",
        f"{SAVED}::test_impossible_metadata_is_one_line_and_takes_no_memory",
    ),
    fault(
        "names: the sizes in a model file are made room for",
        "training/nets/metadata.py",
        "    classes: Annotated[int, Field(ge=1, le=MOST_CLASSES)]",
        "    classes: int",
        f"{SAVED}::test_impossible_metadata_is_one_line_and_takes_no_memory",
    ),
    fault(
        "names: run.json names the folder of a cell",
        "store/schemas/base.py",
        r'Hex = Annotated[str, Field(pattern=r"\A[0-9a-f]{8,64}\z")]',
        "Hex = Annotated[str, Field()]",
        "tests/store/test_edited.py::TestNames::test_a_cell_is_a_digest_and_nothing_else",
    ),
    fault(
        "names: a recording names any field",
        "store/recording.py",
        'if odd := sorted(set(attributes["fields"]) - set(RECORDED)):',
        "if odd := sorted(set()):",
        "tests/store/test_edited.py::TestNames::test_a_field_is_one_of_the_vocabulary",
    ),
    fault(
        "names: a cell of a table names any image file",
        "data/decoding/images.py",
        "if any(real.is_relative_to(os.path.realpath(home)) for home in homes):",
        "if True:",
        "tests/data/test_folders.py::TestCellsThatNameFiles::test_others_are_refused_without_waiting",
    ),
    fault(
        "names: metadata names any image file",
        "data/layouts/metadata.py",
        'if name.startswith("/") or ".." in parts or "\\\\" in name or "\\0" in name:',
        "if False:",
        "tests/data/test_folders.py::TestMetadata::test_rows_that_lead_elsewhere_are_refused",
    ),
    fault(
        "names: run.json on a store names any folder",
        "scale/claim.py",
        "    return top == GENERATIONS and _number(name) >= 0",
        "    return True",
        "tests/scale/test_lease.py::test_an_edited_run_json_is_refused",
    ),
    fault(
        "text: every label is a folder name",
        "untrusted.py",
        "    if fault := _name_fault(text):",
        "    if fault := None:",
        "tests/test_untrusted.py::test_what_is_no_name_of_one_folder_is_refused",
    ),
    fault(
        "text: kept images lie in folders named by their label",
        "data/writers/copies.py",
        '    if by_class and not more:\n        names = [folder_name(source.classes[k], "label")',
        "    if source.labelled:\n        names = [source.classes[k]",
        f"{KEPT}::test_a_label_in_a_metadata_file_never_becomes_a_path",
    ),
    fault(
        "text: a cell that names a pipe or a device hangs",
        "untrusted.py",
        "            if not stat.S_ISREG(about.st_mode):",
        "            if False:",
        "tests/data/test_images.py::test_a_file_is_read_up_to_a_limit_and_never_from_a_device",
    ),
    fault(
        "text: an image that became a pipe is copied",
        "data/writers/copies.py",
        "        if not stat.S_ISREG(os.fstat(descriptor).st_mode):",
        "        if False:",
        f"{KEPT}::test_an_image_that_became_a_pipe_or_a_device_is_refused_and_nothing_is_written",
    ),
    fault(
        "text: a quote in OUT ends the string of the printed line",
        "untrusted.py",
        "    return f'\"{body}\"'",
        "    return f'\"{text}\"'",
        f"{KEPT}::test_the_line_that_loads_it_works_for_any_name_of_the_folder",
    ),
    fault(
        "text: errors steer the terminal",
        "errors.py",
        "        super().__init__(printable(str(message)))",
        "        super().__init__(str(message))",
        f"{SAVED}::test_only_names_of_our_nets_are_taken_from_a_file",
    ),
]
