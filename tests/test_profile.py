"""The environment variables and what they may hold."""

import pytest

from shared.errors import ProfileError
from shared.profile import PROFILES, ROOT, load_profile


def test_small_is_the_default_and_empty_means_unset():
    profile = load_profile(
        "NB", {"PROFILE": "", "MODEL": "", "DATASET": "", "MAX_STEPS": "", "SEED": "", "OUTPUT_DIR": ""}
    )
    assert profile.name == "small"
    assert profile.output_dir == ROOT / "runs" / "NB"
    assert profile.is_standard_run


def test_variables_override_the_profile():
    environment = {
        "PROFILE": "tiny",
        "MODEL": "a/b",
        "DATASET": "d.jsonl",
        "MAX_STEPS": "7",
        "SEED": "0",
        "OUTPUT_DIR": "o",
    }
    profile = load_profile("NB", environment)
    assert (profile.model, profile.revision, profile.dataset) == ("a/b", None, "d.jsonl")
    assert (profile.max_steps, profile.seed, str(profile.output_dir)) == (7, 0, "o")
    assert not profile.is_standard_run


def test_several_processes_share_the_batch():
    launched = {"PROFILE": "full", "LOCAL_RANK": "1", "WORLD_SIZE": "4"}
    assert load_profile("NB", launched).batch_size == 4 == PROFILES["full"].batch_size // 4
    assert load_profile("NB", {"PROFILE": "full", "WORLD_SIZE": "4"}).batch_size == 16  # no launcher started this one


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        (
            {"PROFILE": "small", "LOCAL_RANK": "0", "WORLD_SIZE": "3"},
            "3 processes cannot divide profile small's batch of 4 examples evenly: take 1, 2 or 4.",
        ),
        ({"PROFILE": "huge"}, "PROFILE=huge is unknown: set PROFILE to tiny, small, full"),
        ({"MAX_STEPS": "0"}, "MAX_STEPS=0 is not usable: set it to a whole number from 1 up"),
        ({"MAX_STEPS": "ten"}, "MAX_STEPS=ten is not usable"),
        ({"SEED": "-1"}, "SEED=-1 is not usable: set it to a whole number from 0 up"),
    ],
)
def test_unusable_values_are_one_sentence(environment, message):
    with pytest.raises(ProfileError, match=message):
        load_profile("NB", environment)


def test_hub_models_are_pinned_by_commit():
    for profile in PROFILES.values():
        assert profile.revision is None or (len(profile.revision) == 40 and int(profile.revision, 16))
