"""The learning rate as a function of the step."""

from __future__ import annotations

import math

from danlu.config.recipe import TrainingSection


def learning_rate(settings: TrainingSection, step: int, total_steps: int) -> float:
    """Return the learning rate of an optimizer step.

    The warmup climbs in equal parts to the peak, which its last step has, so that no step is
    spent at 0. The decay ends at ``final_learning_rate_ratio`` of the peak on the last step,
    except that a ratio of 0 is reached one step after the last, for the same reason.

    Args:
        settings: Peak, shape and ratios.
        step: Counted from 0.
        total_steps: Steps of the whole run.

    Example:
        >>> s = TrainingSection(learning_rate=1.0, schedule="linear", warmup_ratio=0.5)
        >>> [round(learning_rate(s, step, 4), 2) for step in range(4)]
        [0.5, 1.0, 0.67, 0.33]
    """
    peak, floor = settings.learning_rate, settings.final_learning_rate_ratio
    warmup = math.ceil(settings.warmup_ratio * total_steps)
    if step < warmup:
        return peak * (step + 1) / warmup
    if settings.schedule == "constant":
        return peak
    if settings.schedule == "warmup_stable_decay":
        decay = math.ceil(settings.decay_ratio * total_steps)
        begin = max(warmup, total_steps - decay)
    else:
        begin = warmup
    if step < begin:
        return peak
    # share runs from just above 0 (first step after the peak) to just below 1, or 1 with a floor.
    steps_left = total_steps - begin + (0 if floor and total_steps > begin else 1)
    share = min(1.0, (step - begin + 1) / max(1, steps_left))
    shape = 0.5 * (1 + math.cos(math.pi * share)) if settings.schedule == "cosine" else 1 - share
    return peak * (floor + (1 - floor) * shape)
