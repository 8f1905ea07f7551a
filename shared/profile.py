"""Which model a notebook runs, on how much data and for how long: PROFILE = tiny | small | full."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from shared.errors import ProfileError

ROOT = Path(__file__).resolve().parents[1]
TINY_MODEL = ROOT / "shared" / "models" / "falcon-tiny"


@dataclass(frozen=True)
class Profile:
    """The settings in which a notebook's runs differ. Lengths are in tokens, counts in examples."""

    name: str
    model: str  # a folder or a name on the Hub
    revision: str | None  # 40 hex digits; None for a folder
    batch_size: int
    max_length: int
    max_steps: int
    learning_rate: float
    eval_examples: int  # held-out examples that are generated and scored
    eval_batch_size: int
    gradient_checkpointing: bool = False
    merge_dtype: str = "float32"  # of the base that an adapter is merged into
    gpu_gib: float | None = (
        None  # GPU memory that the notebooks need, computed: 4-bit and 16-bit weights; None: no GPU is needed
    )
    seed: int = 42
    dataset: str | None = None  # None: the notebook's own data set
    output_dir: Path = Path("runs")
    is_standard_run: bool = True  # False where model, data or steps were set: nothing is asserted of the outcome
    weights: str | None = None  # the folder to load from; shared.models.fetch_weights fills in these three
    weights_source: str | None = None
    note: str = ""

    def __str__(self) -> str:
        return f"profile {self.name}, model {self.model}, seed {self.seed}"


PROFILES = {
    "tiny": Profile(
        name="tiny",
        model=str(TINY_MODEL),
        revision=None,
        batch_size=8,
        max_length=256,
        max_steps=170,
        learning_rate=4e-3,
        eval_examples=200,
        eval_batch_size=100,
    ),
    "small": Profile(
        name="small",
        model="HuggingFaceTB/SmolLM2-135M-Instruct",
        revision="12fd25f77366fa6b3b4b768ec3050bf629380bac",
        batch_size=4,
        max_length=256,
        max_steps=100,
        learning_rate=1e-3,
        eval_examples=100,
        eval_batch_size=50,
    ),
    "full": Profile(
        name="full",
        model="tiiuae/falcon-7b",
        revision="ec89142b67d748a1865ea4451372db8313ada0d8",
        batch_size=16,
        max_length=512,
        max_steps=300,
        learning_rate=2e-4,
        eval_examples=200,
        eval_batch_size=100,
        gradient_checkpointing=True,
        merge_dtype="bfloat16",
        gpu_gib=20,
    ),
}


def load_profile(notebook: str, environment: Mapping[str, str] = os.environ) -> Profile:
    """The profile of this run, from the environment variables PROFILE, MODEL, DATASET, MAX_STEPS, SEED, OUTPUT_DIR.

    `notebook` is the notebook's name without its ending: artefacts go to `runs/<notebook>` at the top of the
    repository unless OUTPUT_DIR names another folder. Of several processes (`make train`) each gets its part of the batch,
    so that all of them together train on the profile's. Raises ProfileError where a value is not usable.
    """
    name = environment.get("PROFILE") or "small"
    if name not in PROFILES:
        raise ProfileError(f"PROFILE={name} is unknown: set PROFILE to {', '.join(PROFILES)}, or leave it out (small).")
    profile = PROFILES[name]
    if model := environment.get("MODEL"):
        profile = replace(profile, model=model, revision=None, gpu_gib=None)
    if "LOCAL_RANK" in environment:  # a launcher started this process, and others beside it
        profile = replace(profile, batch_size=_part_of_the_batch(profile, int(environment.get("WORLD_SIZE", "1"))))
    output_dir = Path(environment.get("OUTPUT_DIR") or ROOT / "runs" / notebook)
    return replace(
        profile,
        dataset=environment.get("DATASET") or None,
        max_steps=_whole_number(environment, "MAX_STEPS", profile.max_steps, minimum=1),
        seed=_whole_number(environment, "SEED", profile.seed, minimum=0),
        output_dir=output_dir,
        is_standard_run=not any(environment.get(name) for name in ("MODEL", "DATASET", "MAX_STEPS")),
    )


def _part_of_the_batch(profile: Profile, processes: int) -> int:
    if profile.batch_size % processes:
        usable = [str(n) for n in range(1, profile.batch_size + 1) if profile.batch_size % n == 0]
        raise ProfileError(
            f"{processes} processes cannot divide profile {profile.name}'s batch of {profile.batch_size} examples evenly: "
            f"take {', '.join(usable[:-1])} or {usable[-1]}."
        )
    return profile.batch_size // processes


def _whole_number(environment: Mapping[str, str], variable: str, default: int, minimum: int) -> int:
    text = environment.get(variable) or str(default)
    if not text.isascii() or not text.isdigit() or int(text) < minimum:
        raise ProfileError(f"{variable}={text} is not usable: set it to a whole number from {minimum} up.")
    return int(text)
