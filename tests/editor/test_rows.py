"""What users of ZaP and Bead Fixer have in their fingers, row by row, and the test of each.

A row without a test, a key that no row names, or a key that the key card leaves out fails here.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from PyQt6.QtGui import QKeySequence

HERE = Path(__file__).parent
CARD = HERE.parents[1] / "docs" / "fiducial-editor.md"
ROWS: dict[str, tuple[str, ...]] = {
    # ---- modes
    "Movie and Model: M and radio buttons": ("test_modes", "test_modes_by_their_buttons"),
    "Movie: left sets the current point": ("test_movie_left_sets_the_current_point",),
    "Movie: drag pans": ("test_left_drag_pans_and_does_not_attach",),
    "Movie: middle plays forward, right backward, again stops": (
        "test_movie_middle_and_right_play",),
    "Model: left attaches within 15 screen px, else detaches": (
        "test_left_attaches_within_fifteen_pixels_else_detaches",),
    "Model: drag pans": ("test_left_drag_pans_and_does_not_attach",),
    "Model: middle adds a point": (
        "test_middle_adds_a_point_snapped_to_the_bead",
        "test_middle_without_autocentre_adds_where_it_was_clicked"),
    "Model: right moves the current point": (
        "test_right_moves_the_current_point_as_one_command",
        "test_right_without_a_current_point_on_this_view_moves_nothing"),
    "Model: Ctrl+right deletes within 8 px": ("test_ctrl_right_deletes_within_eight_pixels",),
    "Model: Shift+right centres": ("test_shift_right_centres_the_current_point",),
    "a drag begins after 250 ms or 6 px": (
        "test_a_press_becomes_a_drag_after_a_quarter_of_a_second",
        "test_left_drag_pans_from_six_pixels_on"),
    # ---- keys
    "PgUp PgDown Home End Ins": ("test_the_views",),
    "+ = -": ("test_the_zoom_ladder",),
    "arrows pan": ("test_arrows_pan_and_keypad_arrows_nudge",),
    "keypad arrows nudge": ("test_arrows_pan_and_keypad_arrows_nudge",),
    "C Shift+C": ("test_contours",),
    "[ ] { }": ("test_points",),
    "N": ("test_new_and_deleted_contours",),
    "Shift+D": ("test_new_and_deleted_contours",),
    "Del": ("test_delete_undo_redo",),
    "Ctrl+Z Ctrl+Y Ctrl+Shift+Z": ("test_delete_undo_redo",),
    "T": ("test_display_keys",),
    "Shift+A": ("test_display_keys",),
    "F11": ("test_display_keys",),
    "Shift+R": ("test_the_zoom_ladder",),
    "S": ("test_s_saves_a_version_that_stays",),
    "V": ("test_the_model_view_and_the_key_list",),
    "wheel zooms at the pointer": ("test_the_wheel_zooms_at_the_pointer",),
    "?": ("test_the_model_view_and_the_key_list",),
    # ---- information panel
    "Object, Contour, Point, Z with totals": (
        "test_the_spin_boxes_of_the_information_panel", "test_enter_in_a_field_ends_typing"),
    "X Y": ("test_movie_left_sets_the_current_point",),
    "Black / White": ("test_contrast_by_its_handles",),
    "Float": ("test_float_gives_each_view_its_contrast",),
    "Auto": ("test_contrast_by_its_handles",),
    "log: Done saving model": ("test_s_saves_a_version_that_stays",),
    "log: No more gaps found!": ("test_gaps_come_contour_by_contour",),
    "log: Contour 3 is missing points before current point": (
        "test_gaps_come_contour_by_contour",),
    "log: No more residuals!": ("test_the_list_of_residuals",),
    "log: Autocentering failed to find a point": ("test_no_bead_no_point",),
    "log: Residual = r (x, y), n SDs": ("test_the_biggest_residual_first_and_moved_back",),
    # ---- display
    "circles of the diameter, by surface, current yellow": (
        "test_circles_by_surface_the_current_one_yellow",),
    "yellow arrow at a gap": ("test_arrows_at_a_gap_and_the_prediction",),
    "residual arrows with a scale": (
        "test_residual_arrows_point_where_the_solution_wants_the_bead",),
    "G": ("test_display_keys",),
    "P": ("test_p_plays_back_and_forth",),
    "tilt angle and view number beside the slider": (
        "test_the_views", "test_the_slider_goes_through_the_views"),
    "contrast per view": ("test_float_gives_each_view_its_contrast",),
    # ---- model view
    "model view: tracks by surface; turn, move, zoom, pick": (
        "test_the_model_view_turns_moves_and_picks",),
    # ---- Bead Fixer
    "B": ("test_the_bead_fixer_out_of_the_window",),
    "F1 F2 F3 F4": ("test_the_operations_have_keys",),
    "seed: Autocenter": (
        "test_middle_adds_a_point_snapped_to_the_bead", "test_no_bead_no_point"),
    "seed: Light": ("test_light_beads_are_sought_where_light_is_chosen",),
    "seed: Diameter from the data": ("test_the_diameter_is_that_of_the_data",),
    "seed: automatic new contour": (
        "test_middle_in_seed_mode_begins_contours",
        "test_without_automatic_new_contour_the_point_is_replaced",
        "test_seeds_by_clicks_on_an_empty_model"),
    "/": ("test_overlay_is_magenta_and_green",),
    "Space Shift+Space": ("test_gaps_come_contour_by_contour",),
    "gaps: order, attach, detached": ("test_gaps_come_contour_by_contour",),
    "gaps: Reattach": ("test_a_gap_is_filled_by_a_click_and_the_search_goes_on",),
    "gaps: Start from Beginning": ("test_gaps_come_contour_by_contour",),
    "gaps: Start from Current Point": ("test_a_gap_is_filled_by_a_click_and_the_search_goes_on",),
    "gaps: Ignore gaps at views": ("test_views_can_be_ignored", "test_lists_of_views"),
    "gaps: no automatic new contours": (
        "test_middle_without_a_contour_in_gap_mode_says_why_not",),
    "'": ("test_the_biggest_residual_first_and_moved_back", "test_contours_by_mean_residual"),
    '"': ("test_points_are_examined_again_when_that_is_wanted",),
    ";": ("test_the_biggest_residual_first_and_moved_back",),
    "U": ("test_the_biggest_residual_first_and_moved_back",),
    "residuals: Move All, with a confirmation": ("test_move_all_asks",),
    "residuals: Skip low weights, threshold": ("test_low_weights_are_skipped",),
    "residuals: Examine points once": ("test_points_are_examined_again_when_that_is_wanted",),
    "residuals: Clear Examined List, criterion, progress": ("test_the_list_of_residuals",),
    "residuals: never not loaded": ("test_residuals_are_never_not_loaded",),
    "contours: highest mean first, with mean, SD, max; Back Up, Delete": (
        "test_contours_by_mean_residual",),
    # ---- what they cannot do
    "live: every edit, both numbers, bars, beside the log": (
        "test_a_bad_click_makes_both_numbers_worse_and_undo_better",
        "test_a_click_on_a_bar_goes_there"),
    "live: frozen choice, chosen anew": (
        "test_a_bad_click_makes_both_numbers_worse_and_undo_better",
        "test_choose_anew_by_its_button"),
    "predicted circle with its uncertainty": ("test_arrows_at_a_gap_and_the_prediction",),
    "Return Enter": ("test_enter_accepts_the_prediction",),
    "Ctrl+G": ("test_fill_all_gaps", "test_weak_evidence_is_listed_after_filling"),
    "worklist: rows, thumbnails, effect, filters": (
        "test_what_was_spoiled_stands_at_the_top_and_accepting_mends_it",
        "test_reject_and_filters", "test_a_click_on_a_row_goes_there_and_enter_accepts_it"),
    ". , A X": (
        "test_what_was_spoiled_stands_at_the_top_and_accepting_mends_it",
        "test_reject_and_filters"),
    "strip": ("test_the_strip_shows_all_views_of_the_bead",),
    "live slab": ("test_the_slab_shows_the_bead",),
    "undo without end": ("test_without_end_all_can_be_undone_and_redone",),
    "journal, offered after a crash": (
        "test_fifty_edits_survive_a_kill", "test_unsaved_edits_are_offered_and_restored",
        "test_unsaved_edits_can_be_left", "test_two_editors_do_not_write_one_journal"),
    "versions: note, numbers, open, compare": ("test_s_saves_a_version_that_stays",),
    "Ctrl+R": ("test_rerunning_the_alignment_saves_first",),
    "any binning": (
        "test_on_the_binned_stack_and_on_the_full_one", "test_the_same_model_on_other_pictures"),
}  # fmt: skip


def _tests() -> set[str]:
    found: set[str] = set()
    for path in HERE.glob("test_*.py"):
        tree = ast.parse(path.read_text())
        found |= {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}
    return {name for name in found if name.startswith("test_")}


def test_every_row_has_its_tests():
    there = _tests()
    missing = {row: [t for t in tests if t not in there] for row, tests in ROWS.items()}
    assert all(ROWS.values())
    assert not {row: names for row, names in missing.items() if names}


def test_every_key_has_a_row_and_stands_in_the_key_card(person):
    keys = {
        key.toString(QKeySequence.SequenceFormat.PortableText)
        for action in person.window.actions()
        for key in action.shortcuts()
    }
    # What some keyboards report instead of the sign itself.
    keys -= {'Shift+"', "Shift+{", "Shift+}", "Shift+?", "Shift++"}
    in_rows = {word for row in ROWS for word in row.split()}
    assert keys - in_rows == set()
    card = CARD.read_text()
    named = set(re.findall(r"`([^`]+)`", card.partition("## Key card")[2].partition("\n## ")[0]))
    assert keys - named == set()
