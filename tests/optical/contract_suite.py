"""The tests of ``tests/contract`` for a backend that is there only as a fake: they need another ``engine`` fixture."""

import importlib.util
from pathlib import Path

_PATH = Path(__file__).parents[1] / "contract" / "test_optical.py"
_SPEC = importlib.util.spec_from_file_location("contract_for_fakes", _PATH)
suite = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(suite)

Engine, texture, window = suite.Engine, suite.texture, suite.window
TESTS = (
    "test_no_motion_is_zero",
    "test_a_shift_is_found_with_its_axis_and_sign",
    "test_fields_are_anchored_at_the_first_frame",
    "test_a_moving_square_is_where_it_was_in_the_first_frame",
    "test_a_mirrored_scene_moves_the_other_way",
    "test_odd_sizes_keep_their_shape",
    "test_n_frames_give_n_minus_one_fields",
    "test_a_field_comes_before_the_next_frame_is_asked_for",
    "test_a_stream_equals_its_pairs_one_by_one_and_itself",
    "test_frames_are_only_read",
    "test_the_refusal_says_what_it_takes",
    "test_the_same_fault_of_a_clip_is_the_same_reason_in_every_backend",
    "test_what_is_no_grayscale_frame_is_the_callers_fault",
)
"""Those that take ``engine``, but for the one that starts a process without the fake in it."""


def take():
    """Return the tests by name, for a test module's ``globals().update``."""
    return {name: getattr(suite, name) for name in TESTS}
