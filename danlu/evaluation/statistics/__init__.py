"""Statistics of evaluation: intervals, tests and plans, as plain functions over NumPy arrays.

Every function names its source and equation, refuses empty input and missing values, and draws
random numbers only from the generator that it is given. How to use them on two versions of a model
stands in Miller 2024 (arXiv:2411.00640): pair by prompt, cluster what belongs together.
Never here: torch, records, or anything that knows what a prompt is.
"""

from danlu.evaluation.statistics.agreement import cohen_kappa, fleiss_kappa
from danlu.evaluation.statistics.calibration import prediction_powered_mean, rogan_gladen
from danlu.evaluation.statistics.clusters import ClusterSums, cluster_error, cluster_sums
from danlu.evaluation.statistics.mcnemar import mcnemar
from danlu.evaluation.statistics.multiple import (
    Gatekept,
    benjamini_hochberg,
    gatekeep,
    holm,
    simes,
)
from danlu.evaluation.statistics.noninferiority import NonInferiority, non_inferiority
from danlu.evaluation.statistics.passing import pass_at_k
from danlu.evaluation.statistics.planning import (
    mean_prompts_needed,
    prompts_needed,
    smallest_difference,
    smallest_mean_difference,
)
from danlu.evaluation.statistics.preference import (
    LengthControlled,
    length_controlled,
    win_rate,
)
from danlu.evaluation.statistics.proportions import Interval, paired_difference, wilson
from danlu.evaluation.statistics.resampling import (
    bootstrap_interval,
    bootstrap_means,
    sign_flip,
    sign_flip_sums,
)
from danlu.evaluation.statistics.tables import MantelHaenszel, mantel_haenszel

__all__ = [
    "ClusterSums",
    "Gatekept",
    "Interval",
    "LengthControlled",
    "MantelHaenszel",
    "NonInferiority",
    "benjamini_hochberg",
    "bootstrap_interval",
    "bootstrap_means",
    "cluster_error",
    "cluster_sums",
    "cohen_kappa",
    "fleiss_kappa",
    "gatekeep",
    "holm",
    "length_controlled",
    "mantel_haenszel",
    "mcnemar",
    "mean_prompts_needed",
    "non_inferiority",
    "paired_difference",
    "pass_at_k",
    "prediction_powered_mean",
    "prompts_needed",
    "rogan_gladen",
    "sign_flip",
    "sign_flip_sums",
    "simes",
    "smallest_difference",
    "smallest_mean_difference",
    "wilson",
    "win_rate",
]
