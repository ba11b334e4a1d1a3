"""Readers that guess again: kind 4 of issue 19."""

from tests.mutations.bug import fault

LAYOUTS, FOLDERS = "tests/data/test_layouts.py", "tests/data/test_folders.py"

READERS = [
    fault(
        "readers: train/ and test/ of parquet are one train split",
        "data/layouts/table_files.py",
        '        groups.setdefault("".join(place.words), []).append(place)\n    plain',
        '        groups.setdefault("", []).append(place)\n    plain',
        f"{FOLDERS}::TestSplits::test_folders_of_parquet_called_train_and_test_are_splits",
        f"{LAYOUTS}::test_no_held_out_file_ever_lies_in_train",
    ),
    fault(
        "readers: folders of images called train and test are one split",
        "data/layouts/image_files.py",
        "    if asked.split == ALL or not tops:",
        "    if True:",
        f"{LAYOUTS}::test_no_held_out_file_ever_lies_in_train",
    ),
    fault(
        "readers: files named for a split beside others are one",
        "data/layouts/table_files.py",
        "    if plain and len(groups) > 1:",
        "    if False:",
        f"{LAYOUTS}::test_an_unclear_layout_stops_with_the_way_out",
    ),
    fault(
        "readers: splits beside classes are classes",
        "data/layouts/image_files.py",
        "    if not (held or (any(exact.values()) and (deep or loose)) or (deep and said)):",
        "    if True:",
        f"{LAYOUTS}::test_an_unclear_layout_stops_with_the_way_out",
    ),
    fault(
        "readers: label=cat/ loses its labels",
        "data/layouts/places.py",
        '            keys.append((found[1], None if value in (_NULL, "") else value))',
        "            str(value)",
        f"{FOLDERS}::TestSplits::test_folders_of_keys_and_values_give_labels_to_tables",
        f"{FOLDERS}::TestSplits::test_folders_of_keys_and_values_give_labels_to_images",
    ),
    fault(
        "readers: the caption is the label",
        "data/layouts/metadata.py",
        "    return usual[0] if usual else None",
        "    return usual[0] if usual else next(iter(columns), None)",
        f"{FOLDERS}::TestMetadata::test_a_caption_in_class_folders_is_not_the_label",
    ),
    fault(
        "readers: metadata wins over class folders that say otherwise",
        "data/layouts/image_files.py",
        "    if described.asked:\n        return True\n",
        "    return True\n",
        f"{LAYOUTS}::TestMetadata::test_class_folders_and_metadata_may_name_the_classes_differently_but_not_disagree",
    ),
    fault(
        "readers: class folders vanish",
        "data/layouts/image_files.py",
        "    return Part(files, tuple(p.dirs[0] or None for p in inside))",
        "    return Part(files)",
        f"{LAYOUTS}::test_a_clear_layout_is_read_by_its_rule",
    ),
    fault(
        "readers: folders in class folders are dropped",
        "data/layouts/image_files.py",
        "    if depths != {1}:",
        "    if False:",
        f"{LAYOUTS}::test_an_unclear_layout_stops_with_the_way_out",
    ),
    fault(
        "readers: parquet of several folders is one table",
        "data/layouts/table_files.py",
        "    if len(rests) > 1:",
        "    if False:",
        f"{LAYOUTS}::test_an_unclear_layout_stops_with_the_way_out",
    ),
    fault(
        "readers: of two folders for one split one is dropped",
        "data/layouts/image_files.py",
        "    if twice := [n for n in names.values() if list(names.values()).count(n) > 1]:",
        "    if twice := []:",
        f"{LAYOUTS}::test_an_unclear_layout_stops_with_the_way_out",
    ),
    fault(
        "readers: the only split is pruned, held out or not",
        "data/layouts/splits.py",
        "    if len(splits) == 1 and name is not None and not set(within(name)) & set(HELD_OUT):",
        "    if name is not None:",
        f"{FOLDERS}::TestSplits::test_the_only_split_is_not_pruned_where_it_is_held_out",
    ),
    fault(
        "readers: a column of splits is passed over",
        "data/layouts/split_column.py",
        "    if words is None:",
        "    if True:",
        f"{FOLDERS}::TestSplits::test_a_column_of_splits_keeps_test_rows_out_of_train",
    ),
    fault(
        "readers: rows that Delta Lake deleted come back",
        "data/layouts/rules.py",
        '    if "_delta_log" in parts or ".hoodie" in hidden:',
        "    if False:",
        f"{LAYOUTS}::test_an_unclear_layout_stops_with_the_way_out",
    ),
    fault(
        "readers: what is ignored is not told",
        "data/told.py",
        '    parts = [f"{why}: {len(names):,} ({min(names)})" for why, names in found.ignored.items() if names]',
        "    parts: list[str] = []",
        f"{FOLDERS}::TestTold::test_one_line_says_what_was_understood_and_one_what_is_ignored",
    ),
    fault(
        "readers: splits are not told",
        "data/told.py",
        "    if test_name is not None:",
        "    if False:",
        f"{FOLDERS}::TestTold::test_one_line_says_what_was_understood_and_one_what_is_ignored",
    ),
]
