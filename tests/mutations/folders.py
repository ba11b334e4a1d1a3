"""Folders that are not ours, written into again: kind 3 of issue 19."""

from tests.mutations.bug import fault

OUT = "tests/study/test_out.py"

FOLDERS = [
    fault(
        "folders: .lock is emptied before it is looked at, through links",
        "store/files.py",
        '    try:\n        about = os.lstat(folder / ".lock")',
        '    if (folder / ".lock").is_file():\n        (folder / ".lock").open("w").close()\n'
        '    try:\n        about = os.lstat(folder / ".lock")',
        f"{OUT}::test_the_lock_never_follows_a_link_and_never_empties_a_file",
        f"{OUT}::test_something_else_called_lock_is_left_alone",
    ),
    fault(
        "folders: .lock is made through a link",
        "store/files.py",
        "    if not stat.S_ISREG(about.st_mode) or about.st_size:",
        "    if False:",
        f"{OUT}::test_something_else_called_lock_is_left_alone",
    ),
    fault(
        "folders: .lock is made before OUT is checked",
        "study/out.py",
        "        self._check(data, force=force)\n        with self._held():",
        "        with self._held():",
        f"{OUT}::test_a_stranger_s_folder_of_another_data_set_gets_no_lock",
    ),
    fault(
        "folders: a stranger's .replaced is moved over their own files",
        "study/aside.py",
        '    if "aside" in run:\n',
        '    for name in NAMES:\n        if os.path.lexists(folder / ".replaced" / name):\n'
        '            delete(folder / name)\n            (folder / ".replaced" / name).rename(folder / name)\n'
        '    if "aside" in run:\n',
        f"{OUT}::test_a_stranger_s_replaced_folder_is_moved_nowhere",
    ),
    fault(
        "folders: what lies in .replaced is anybody's",
        "study/aside.py",
        '    if not isinstance(token, str) or not re.fullmatch(r"[0-9a-f]{16}", token):\n        return None\n'
        '    aside = folder / f".replaced-{token}"',
        "    if not isinstance(token, str):\n        return None\n    aside = folder / token",
        f"{OUT}::test_an_edited_run_json_gives_nothing_away",
    ),
    fault(
        "folders: everything of our names is ours",
        "store/owned.py",
        "        return {RUN, *(name for name in NAMES if name in listed)}",
        "        return set(NAMES)",
        f"{OUT}::test_what_no_run_wrote_is_never_touched_whatever_it_is_called",
    ),
    fault(
        "folders: names that something else has taken are no reason to stop",
        "store/owned.py",
        "    return sorted(name for name in NAMES if name not in owns and os.path.lexists(folder / name))",
        "    return []",
        f"{OUT}::test_what_no_run_wrote_is_never_touched_whatever_it_is_called",
        f"{OUT}::test_force_does_not_make_a_stranger_s_folder_ours",
    ),
    fault(
        "folders: the gate lets everything through",
        "store/gate.py",
        "        if name not in NAMES or os.path.lexists(self.root / name):",
        "        if False:",
        f"{OUT}::test_something_that_appears_while_a_run_is_at_work_is_not_overwritten",
    ),
    fault(
        "folders: the gate lets everything be deleted",
        "store/gate.py",
        "        if not self.owns(inside[0]):",
        "        if False:",
        f"{OUT}::test_something_that_appears_while_a_run_is_at_work_is_not_overwritten",
    ),
    fault(
        "folders: any run.json makes a folder ours",
        "store/owned.py",
        "def _is_run(run: Any) -> bool:\n",
        "def _is_run(run: Any) -> bool:\n    if isinstance(run, dict):\n        return True\n",
        f"{OUT}::test_somebody_else_s_run_json_makes_nothing_ours",
    ),
    fault(
        "folders: run.json is believed whatever it lists",
        "store/owned.py",
        "        return {RUN, *(name for name in NAMES if name in listed)}",
        "        return {RUN, *listed}",
        f"{OUT}::test_an_edited_run_json_gives_nothing_away",
    ),
    fault(
        "folders: links are written through",
        "store/owned.py",
        "            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):",
        "            if False:",
        f"{OUT}::test_a_link_where_a_run_would_write_is_refused",
        f"{OUT}::test_a_pipe_where_a_run_would_read_is_refused",
    ),
    fault(
        "folders: a refused command leaves its lock",
        "study/out.py",
        "                    if new and not self._gate.wrote:",
        "                    if False:",
        f"{OUT}::test_a_folder_made_for_a_command_that_is_refused_goes_again",
        f"{OUT}::test_a_refused_command_leaves_every_byte_and_every_date",
    ),
    fault(
        "folders: --force deletes before anything is written",
        "study/out.py",
        "            token = set_aside(self.path, before)\n",
        "            token = set_aside(self.path, before)\n"
        '            [os.remove(p) for p in (self / f".replaced-{token}").rglob("*") if p.is_file()]\n',
        f"{OUT}::test_a_forced_command_that_is_refused_leaves_what_was_there",
        f"{OUT}::test_killed_before_it_wrote_anything_the_next_finds_all_of_it",
    ),
    fault(
        "folders: a name is written before it is listed",
        "store/gate.py",
        "        self._owns = self._owned | {name}\n        self.save(",
        "        self._owns = self._owned | {name}\n        self.wait(",
        f"{OUT}::test_a_name_is_listed_before_it_is_written",
    ),
    fault(
        "folders: an OUT in the data is read as data",
        "data/layouts/listing.py",
        "        return OURS if is_run_folder(path) else SAVED if is_saved(path) else None",
        "        return SAVED if is_saved(path) else None",
        f"{OUT}::test_out_inside_the_data_works_again_and_again",
        f"{OUT}::test_parquet_in_an_out_folder_below_the_data_is_not_data",
    ),
]
